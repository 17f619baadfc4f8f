"""What a control tick publishes beside the command: status, and each new plan once."""

from __future__ import annotations

import time
from typing import Any

from rclpy.time import Time
from std_msgs.msg import Header

from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.types import Command, State
from grasp_ros.messages.status import LoopStatistics, Status, build_status
from grasp_ros.msg import PlanStatus
from grasp_ros.node.diagnostics import Diagnostics
from grasp_ros.node.interfaces import Topics
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.replanner import Replanned, Replanner
from grasp_ros.node.watchdog import Watchdog
from grasp_ros.ros.ros_messages import image_message


class StatusPublisher:
    """Gathers, on the executor's thread, what the parts of one activation know."""

    def __init__(
        self,
        stack: PlannerStack,
        topics: Topics,
        replanner: Replanner,
        watchdog: Watchdog,
        diagnostics: Diagnostics,
        parameters: LiveParameters,
    ) -> None:
        """Begin an activation.

        Args:
            stack: of the configured node.
            topics: to publish on.
            replanner: its results are published.
            watchdog: counts.
            diagnostics: take each status.
            parameters: of the node.
        """
        self._stack, self._topics, self._replanner = stack, topics, replanner
        self._watchdog, self._diagnostics = watchdog, diagnostics
        self._parameters = parameters
        self._shown: Replanned | None = None

    def tick(self, now: Time, command: Command, jitter_s: float, missed: int) -> None:
        """Publish the status of a tick after its command, and each new plan.

        Args:
            now: of the tick.
            command: of the tick.
            jitter_s: of the tick against its schedule, seconds.
            missed: ticks since activation.
        """
        topics, newest = self._topics, self._replanner.newest
        status = self._status(now, command, newest, jitter_s, missed)
        header = Header(stamp=now.to_msg(), frame_id=self._parameters.current.command.frame_id)
        topics.status.publish(PlanStatus(header=header, **vars(status)))
        self._diagnostics.tick(status)
        self._replanner.watched = topics.imagined.get_subscription_count() > 0
        if newest is not None and newest is not self._shown:
            self._shown = newest
            if newest.message is not None:
                topics.plan.publish(newest.message)
            if newest.strip is not None:
                topics.imagined.publish(image_message(newest.strip, now.to_msg(), 'camera'))

    def _status(
        self,
        now: Time,
        command: Command,
        newest: Replanned | None,
        jitter_s: float,
        missed: int,
    ) -> Status:
        loop = LoopStatistics(
            report=newest.report if newest else None,
            plans=newest.plans if newest else 0,
            missed=missed,
            jitter_s=jitter_s,
            images_refused=self._watchdog.images_refused,
            solves_late=self._watchdog.late.count,
            checked=self._replanner.checked,
        )
        name = self._parameters.current.planner.name
        return build_status(self._stack, command, loop, now.nanoseconds, name)


class TickMonitor:
    """Compares ticks with the schedule of the timer that makes them.

    Attributes:
        missed: ticks that came later than half a period, or not at all.
    """

    def __init__(self, period_ns: int, start_ns: int) -> None:
        """Expect one tick each `period_ns`, the first one a period after `start_ns`."""
        self._period_ns = period_ns
        self._start_ns = start_ns
        self._previous = 0
        self.missed = 0

    def tick(self, now_ns: int) -> float:
        """Count a tick at `now_ns`, on the clock of the schedule.

        Returns:
            Its lateness in seconds, less than a period: it belongs to the newest tick due.
        """
        number, late_ns = divmod(now_ns - self._start_ns, self._period_ns)
        if number < self._previous:  # time has jumped back: the schedule starts anew
            self._previous = number
        self.missed += max(0, number - self._previous - 1) + (2 * late_ns > self._period_ns)
        self._previous = number
        return late_ns / 1e9


THROTTLE_S = 5.0


class StateLog:
    """Logs each state once, and each kind of warning every few seconds at most."""

    def __init__(self, logger: Any) -> None:
        """Log to `logger`, of a ROS node."""
        self._logger = logger
        self.clear()

    def clear(self) -> None:
        """Forget what was said, as on activation."""
        self._state: State | None = None
        self._warned: dict[str, float] = {}

    def state(self, command: Command) -> None:
        """Say that the state has changed, if so."""
        if command.state == self._state:
            return
        self._state = command.state
        text = f'{command.state.name}: {command.reason}' if command.reason else command.state.name
        # rclpy refuses one call site with two severities.
        if command.state >= State.STALE_IMAGE:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def warn(self, key: str, text: str, once: bool = False) -> None:
        """Warn at most every few seconds for each `key`, or once since `clear`."""
        now = time.monotonic()
        if key in self._warned and (once or now - self._warned[key] < THROTTLE_S):
            return
        self._warned[key] = now
        self._logger.warning(text)
