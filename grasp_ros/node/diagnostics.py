"""Publishes /diagnostics once a second: all of it while active, the lifecycle state otherwise."""

from __future__ import annotations

import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from grasp_ros.node.health import Entry, Health, Thresholds
from grasp_ros.node.latency_trace import LatencyTrace, PhaseRecorder
from grasp_ros.ros.qos import diagnostics_qos


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Hysteresis:
    """Raises ERROR at once and WARN after some judgements in a row; lowers after a time.

    Attributes:
        level: now.
        message: of what made it so.
    """

    def __init__(self, hold_s: float, warn_after: int = 1) -> None:
        """Begin with OK.

        Args:
            hold_s: how long all must have been better before the level is lowered, seconds.
            warn_after: judgements of WARN in a row that count.
        """
        self._hold_s = hold_s
        self._warn_after = warn_after
        self._in_a_row = 0
        self._seen_s = 0.0
        self.level = Level.OK
        self.message = ''

    def update(self, level: Level, message: str, now_s: float) -> tuple[Level, str]:
        """Take a judgement.

        Returns:
            The level to report and why; a level that is held says since when all is better.
        """
        self._in_a_row = self._in_a_row + 1 if level > Level.OK else 0
        if level is Level.WARN and self.level is Level.OK and self._in_a_row < self._warn_after:
            return self.level, self.message
        held_s = now_s - self._seen_s
        if level >= self.level or held_s >= self._hold_s:
            self.level, self.message, self._seen_s = level, message, now_s
            return level, message
        return self.level, f'{self.message} ({held_s:.0f} s ago)'


PERIOD_S = 1.0
LEVELS = {
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
}


class Diagnostics:
    """The node's own judgement of itself, and the latency trace where one is asked for."""

    def __init__(self, node: LifecycleNode, phases: PhaseRecorder) -> None:
        """Publish from now on; not a lifecycle publisher: it speaks in every state."""
        self._node, self._phases = node, phases
        self._health: Health | None = None
        self._trace: LatencyTrace | None = None
        self._publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics', diagnostics_qos()
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, clock=steady)

    def start(self, values: dict[str, Any]) -> None:
        """Begin an activation with these parameters."""
        self._phases.clear()
        self._health = Health(Thresholds.of(values), self._phases, time.monotonic())
        path, log = values['trace_file'], self._node.get_logger()
        if not path:
            return
        try:
            self._trace = LatencyTrace(
                Path(path).expanduser(), self._node.get_fully_qualified_name(), log.warning
            )
        except OSError as error:
            log.error(f"parameter 'trace_file': no trace is written: {error}")
            return
        self._phases.sink = self._trace

    def tick(self, status: Any) -> None:
        """Take the PlanStatus of a control tick."""
        if self._health is not None:
            self._health.tick(status)

    def stop(self) -> None:
        """End the activation; the trace is complete then."""
        self._health = None
        self._phases.sink = None
        if self._trace is not None:
            self._trace.close()
        self._trace = None

    def _publish(self) -> None:
        name = self._node.get_fully_qualified_name()
        if self._health is not None:
            entries = self._health.entries(time.monotonic())
        else:
            state = self._node._state_machine.current_state[1]
            entries = [Entry('controller', Level.OK, state, {'lifecycle': state})]
        statuses = [
            DiagnosticStatus(
                level=LEVELS[entry.level],
                name=f'{name}: {entry.name}',
                message=entry.message,
                hardware_id=name,
                values=[KeyValue(key=key, value=value) for key, value in entry.values.items()],
            )
            for entry in entries
        ]
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(DiagnosticArray(header=header, status=statuses))
