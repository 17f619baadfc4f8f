"""The time of a simulation: that of the machine, or one that runs faster and fills /clock."""

from __future__ import annotations

import time

from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

START_S = 1.0
"""Zero would mean that there is no time yet."""


class SimTime:
    """Steady seconds for physics and stamps for messages."""

    def __init__(self, node: Node, scale: float, tick_s: float) -> None:
        """Begin.

        Args:
            node: publishes.
            scale: simulated seconds per second. At 1 it is the machine's time; any other runs
                in ticks and is published on /clock, so that all that happens between two ticks
                happens at the same time. A machine that is too slow makes it slower, not coarser.
            tick_s: simulated seconds of a tick.
        """
        self.tick_period_s = tick_s / scale
        self._node = node
        self._tick_ns = round(tick_s * 1e9)
        self._now_ns = round(START_S * 1e9)
        self._clock = None if scale == 1.0 else node.create_publisher(Clock, '/clock', 10)

    def seconds(self) -> float:
        """Now, in seconds that only grow."""
        return time.monotonic() if self._clock is None else self._now_ns / 1e9

    def stamp(self) -> Time:
        """Now, for the header of a message."""
        if self._clock is None:
            return self._node.get_clock().now()
        return Time(nanoseconds=self._now_ns, clock_type=ClockType.ROS_TIME)

    def tick(self, count: int = 1) -> None:
        """Let simulated time go on; the machine's does by itself."""
        if self._clock is not None:
            self._now_ns += count * self._tick_ns
            self._clock.publish(Clock(clock=self.stamp().to_msg()))
