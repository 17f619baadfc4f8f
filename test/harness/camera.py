"""Cameras that tests play to a planner."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from grasp_ros.ros.qos import goal_image_qos
from grasp_ros.ros.ros_messages import image_message, time_message
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import TwoRooms

PERIOD_S = 0.1
FRAME = 'camera'
WORLD = TwoRooms()
EPISODE = make_episode(WORLD, 1)


Pixels = NDArray[np.uint8]
Encode = Callable[..., Any]


def render(position: NDArray[np.float64]) -> Pixels:
    """Return what the camera sees of a robot at `position` (2,) in metres."""
    return WORLD.render(position[None])[0]


START = render(EPISODE.start)
GOAL = render(EPISODE.goal)


class ImagePublisher:
    """Publishes an image each period, and goals when asked.

    Attributes:
        now_ns: the clock of the stamps.
        sent: time (monotonic, s) and stamp (ns) of each image published.
    """

    def __init__(self, node: Node, message_type: type[Any], qos: QoSProfile | int) -> None:
        """Make the publishers and begin."""
        self._node = node
        self.now_ns: Callable[[], int] = time.time_ns
        self.sent: list[tuple[float, int]] = []
        self.publisher = node.create_publisher(message_type, 'image', qos)
        self._goal = node.create_publisher(message_type, 'goal_image', goal_image_qos())
        self._timer: Any = None
        self._factor = 0
        self.flood(1)

    def flood(self, factor: int) -> None:
        """Publish `factor` times as many images as usual; 1 ends it."""
        if factor == self._factor:
            return
        self._factor = factor
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(PERIOD_S / factor, self.publish, clock=steady)

    def publish(self) -> None:
        """Publish what is due."""
        raise NotImplementedError

    def send(self, message: Any, stamp: int) -> None:
        """Publish an image."""
        self.sent.append((time.monotonic(), stamp))
        self.publisher.publish(message)

    def goal(self, image: Pixels, encode: Encode = image_message) -> None:
        """Publish a goal image once."""
        self._goal.publish(encode(image, time_message(self.now_ns()), FRAME))

    @property
    def matched(self) -> bool:
        """Whether somebody subscribes to image and goal."""
        publishers = self.publisher, self._goal
        return all(publisher.get_subscription_count() for publisher in publishers)

    def destroy(self) -> None:
        """Leave the graph."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self.publisher)
        self._node.destroy_publisher(self._goal)


class Camera(ImagePublisher):
    """Shows one image again and again.

    Attributes:
        make: gives the message of a stamp; None for silence.
    """

    def __init__(self, node: Node, message_type: type[Any] = Image) -> None:
        """Silent at first."""
        self.make: Callable[[int], Any] | None = None
        # Reliable, for planners that ask for it; the usual ones take it as it comes.
        super().__init__(node, message_type, 1)

    def show(self, image: Pixels = START, encode: Encode = image_message) -> None:
        """Publish from now on what `encode(image, stamp, frame_id)` makes."""
        self.make = lambda stamp: encode(image, time_message(stamp), FRAME)

    def publish(self) -> None:
        """Publish what is shown."""
        if self.make is not None:
            stamp = self.now_ns()
            self.send(self.make(stamp), stamp)

    def goal(self, image: Pixels = GOAL, encode: Encode = image_message) -> None:
        """Publish a goal image once."""
        super().goal(image, encode)
