"""Keeps what the planner publishes, with arrival times, and judges every command."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from grasp_ros.control.types import State
from grasp_ros.msg import ActionPlan, PlanStatus
from grasp_ros.ros.ros_messages import stamp_ns

INTRUDER = 'intruder'
"""Frame of commands that are not the planner's."""
TOLERANCE = 1e-9
Message = TypeVar('Message')


@dataclass(frozen=True)
class Arrival(Generic[Message]):
    """A message and when it came, on the monotonic clock."""

    time_s: float
    message: Message


class Observer:
    """Everything since the last `clear`; violations of the limits are never cleared."""

    def __init__(self, node: Node, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Subscribe.

        Args:
            node: that listens.
            low: (2,) lower limits of a command, m/s.
            high: (2,) upper limits.
        """
        self._node = node
        self._low, self._high = low - TOLERANCE, high + TOLERANCE
        self.statuses: list[Arrival[PlanStatus]] = []
        self.commands: list[Arrival[TwistStamped]] = []
        self.plans: list[Arrival[ActionPlan]] = []
        self.violations: list[str] = []
        self.on_command: Callable[[TwistStamped], None] = lambda message: None
        # Deep queues: unlike a robot, who judges must not miss a message.
        qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
        node.create_subscription(PlanStatus, 'planner/status', self._keep(self.statuses), qos)
        node.create_subscription(ActionPlan, 'planner/plan', self._keep(self.plans), qos)
        self._qos = qos
        self._subscription: Any = None
        self.listen(True)

    def listen(self, listening: bool) -> None:
        """Subscribe to `command`, or no more."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        if listening:
            self._subscription = self._node.create_subscription(
                TwistStamped, 'command', self._on_command, self._qos
            )

    def clear(self) -> None:
        """Forget what came so far."""
        for kept in (self.statuses, self.commands, self.plans):
            kept.clear()

    def status_since(self, time_s: float, state: State) -> Arrival[PlanStatus] | None:
        """The first status with this state that came at that time or later."""
        for arrival in self.statuses:
            if arrival.time_s >= time_s and arrival.message.state == state:
                return arrival
        return None

    def commands_since(self, time_s: float) -> list[Arrival[TwistStamped]]:
        """The commands that came at that time or later."""
        return [arrival for arrival in self.commands if arrival.time_s >= time_s]

    def states_since(self, time_s: float) -> set[State]:
        """States reported since that time."""
        return {State(a.message.state) for a in self.statuses if a.time_s >= time_s}

    def planned_from_since(self, stamp: int) -> bool:
        """Whether a plan came that was made from an image of that stamp (ns) or a later one."""
        return any(stamp_ns(a.message.observation_stamp) >= stamp for a in self.plans)

    def _keep(self, kept: list[Arrival[Message]]) -> Callable[[Message], None]:
        return lambda message: kept.append(Arrival(time.monotonic(), message))

    def _on_command(self, message: TwistStamped) -> None:
        if message.header.frame_id == INTRUDER:
            return
        self.commands.append(Arrival(time.monotonic(), message))
        twist = message.twist
        values = np.array([twist.linear.x, twist.linear.y])
        rest = (twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z)
        # Negated, so that NaN is a violation.
        if not ((self._low <= values).all() and (values <= self._high).all()) or any(rest):
            self.violations.append(f'command {values.tolist()} {rest} is out of limits')
        self.on_command(message)


def speed(message: TwistStamped) -> float:
    """Speed that is commanded, m/s."""
    return float(np.hypot(message.twist.linear.x, message.twist.linear.y))
