"""The robot that the harness plays: a camera that can be made to fail, on wheels that obey."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Image

from grasp_ros.ros.qos import image_qos
from grasp_ros.ros.ros_messages import image_message, time_message
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.robot import SimulatedRobot
from harness.camera import FRAME, WORLD, Encode, ImagePublisher, Pixels


def _as_it_is(image: Pixels, stamp: int) -> Image:
    return image_message(image, time_message(stamp), FRAME)


class ScriptedCamera(ImagePublisher):
    """Publishes what a simulated robot sees; each way to fail is an attribute.

    Attributes:
        sending: False for silence.
        alter: changes an image before it is published.
        restamp: changes a stamp (ns).
        encode: makes the message of image and stamp.
        delay_s: from an image to its publication.
        robot: obeys the planner's commands.
    """

    def __init__(self, node: Node) -> None:
        """Make the publishers; silent until `reset`."""
        self.robot = SimulatedRobot(WORLD, make_episode(WORLD, 0), time.monotonic())
        super().__init__(node, Image, image_qos())
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Healthy, but silent, at the start of an episode."""
        self.heal()
        self.sending = False
        self.now_ns = time.time_ns
        self.sent.clear()
        self.robot.reset(make_episode(WORLD, seed), time.monotonic())

    def heal(self) -> None:
        """Send a good image each period from now on."""
        self.flood(1)
        self.sending = True
        self.alter: Callable[[Pixels], Pixels] = lambda image: image
        self.restamp: Callable[[int], int] = lambda stamp: stamp
        self.encode: Callable[[Pixels, int], Image] = _as_it_is
        self.delay_s = 0.0
        self._waiting: deque[tuple[float, Image, int]] = deque()

    def goal(self, image: Pixels | None = None, encode: Encode = image_message) -> None:
        """Publish a goal image once; by default the episode's."""
        super().goal(self.robot.goal_image() if image is None else image, encode)

    def obey(self, message: TwistStamped) -> None:
        """Drive as commanded."""
        linear = message.twist.linear
        if np.isfinite([linear.x, linear.y]).all():
            self.robot.command([linear.x, linear.y], time.monotonic())

    def publish(self) -> None:
        """Let the robot drive until now, and publish what its camera saw."""
        now_s = time.monotonic()
        self.robot.advance_to(now_s)
        if self.sending:
            stamp = self.restamp(self.now_ns())
            message = self.encode(self.alter(self.robot.image()), stamp)
            self._waiting.append((now_s + self.delay_s, message, stamp))
        while self._waiting and self._waiting[0][0] <= now_s:
            _, message, stamp = self._waiting.popleft()
            self.send(message, stamp)
