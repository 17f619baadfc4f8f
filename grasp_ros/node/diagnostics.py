"""Publishes /diagnostics once a second: all of it while active, the lifecycle state otherwise."""

from __future__ import annotations

import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from grasp_ros.messages.status import Status
from grasp_ros.node.health import Entry, Health, Level, Thresholds
from grasp_ros.node.latency_trace import LatencyTrace, PhaseRecorder
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.ros.qos import diagnostics_qos
from grasp_ros.ros.rclpy_private import lifecycle_state

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

    def start(self, params: NodeParameters) -> None:
        """Begin an activation with these parameters."""
        self._phases.clear()
        self._health = Health(Thresholds.of(params), self._phases, time.monotonic())
        path, log = params.trace_file, self._node.get_logger()
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

    def tick(self, status: Status) -> None:
        """Take the status of a control tick."""
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
            state = lifecycle_state(self._node)
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
