"""The robot that the harness plays: a camera that can be made to fail, on wheels that obey."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image

from grasp_ros.ros.qos import goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import image_message, time_message
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.robot import SimulatedRobot
from grasp_ros.sim.rooms.world import TwoRooms

Picture = NDArray[np.uint8]
PERIOD_S = 0.1
FRAME = 'camera'


def _publish_as_it_is(picture: Picture, stamp: int) -> Image:
    return image_message(picture, time_message(stamp), FRAME)


class ScriptedCamera:
    """Publishes what a simulated robot sees; each way to fail is an attribute.

    Attributes:
        sending: False for silence.
        alter: changes a picture before it is published.
        restamp: changes a stamp (ns).
        encode: makes the message of picture and stamp.
        delay_s: from a picture to its publication.
        now_ns: the clock of the stamps.
        sent: time (monotonic, s) and stamp (ns) of each picture published.
        robot: obeys the planner's commands.
    """

    def __init__(self, node: Node) -> None:
        """Make the publishers; silent until `reset`."""
        self._node = node
        self._world = TwoRooms()
        self._image = node.create_publisher(Image, 'image', image_qos())
        self._goal_image = node.create_publisher(Image, 'goal_image', goal_image_qos())
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.sent: list[tuple[float, int]] = []
        self.robot = SimulatedRobot(self._world, make_episode(self._world, 0), time.monotonic())
        self._set_factor(1)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Healthy, but silent, at the start of an episode."""
        self.heal()
        self.sending = False
        self.now_ns: Callable[[], int] = time.time_ns
        self.sent.clear()
        self.robot.reset(make_episode(self._world, seed), time.monotonic())

    def heal(self) -> None:
        """Send a good picture each period from now on."""
        self.flood(1)
        self.sending = True
        self.alter: Callable[[Picture], Picture] = lambda picture: picture
        self.restamp: Callable[[int], int] = lambda stamp: stamp
        self.encode: Callable[[Picture, int], Image] = _publish_as_it_is
        self.delay_s = 0.0
        self._waiting: deque[tuple[float, Image, int]] = deque()

    def flood(self, factor: int) -> None:
        """Send `factor` times as many pictures as usual; 1 ends it."""
        if factor != self._factor:
            self._node.destroy_timer(self._timer)
            self._set_factor(factor)

    def goal(self, picture: Picture | None = None) -> None:
        """Publish a goal picture once; by default the episode's."""
        wanted = self.robot.goal_image() if picture is None else picture
        self._goal_image.publish(image_message(wanted, time_message(self.now_ns()), FRAME))

    def render(self, position: NDArray[np.float64]) -> Picture:
        """What the camera would see with the robot at `position` (2,), metres."""
        return self._world.render(position[None])[0]

    def obey(self, message: TwistStamped) -> None:
        """Drive as commanded."""
        linear = message.twist.linear
        if np.isfinite([linear.x, linear.y]).all():
            self.robot.command([linear.x, linear.y], time.monotonic())

    @property
    def matched(self) -> bool:
        """Whether somebody subscribes to picture and goal."""
        publishers = (self._image, self._goal_image)
        return all(publisher.get_subscription_count() for publisher in publishers)

    def _set_factor(self, factor: int) -> None:
        self._factor = factor
        self._timer = self._node.create_timer(PERIOD_S / factor, self._tick, clock=self._clock)

    def _tick(self) -> None:
        now_s = time.monotonic()
        self.robot.advance_to(now_s)
        if self.sending:
            stamp = self.restamp(self.now_ns())
            message = self.encode(self.alter(self.robot.image()), stamp)
            self._waiting.append((now_s + self.delay_s, message, stamp))
        while self._waiting and self._waiting[0][0] <= now_s:
            _, message, stamp = self._waiting.popleft()
            self.sent.append((time.monotonic(), stamp))
            self._image.publish(message)
