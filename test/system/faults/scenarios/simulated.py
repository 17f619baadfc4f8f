"""Scenarios: what can be wrong with simulated time."""

from __future__ import annotations

import time
from functools import partial

from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from grasp_ros.control.types import State
from grasp_ros.ros.ros_messages import time_message
from system.faults.bench import PATIENCE_S, PlannerTestBench
from system.faults.scenario import Outcome, Scenario, drives_again, stopped

START_NS = 1000 * 10**9
TICK_S = 0.01
SIMULATED = {'use_sim_time': True}


class SimulatedClock:
    """Publishes `/clock` a hundred times a second.

    Attributes:
        now_ns: the simulated time.
        runs: False while it stands still.
        speaks: False for silence.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.now_ns, self.runs, self.speaks = START_NS, True, True
        self._before_s = time.monotonic()
        self._publisher = node.create_publisher(Clock, '/clock', 10)
        self._timer = node.create_timer(
            TICK_S, self._tick, clock=RosClock(clock_type=ClockType.STEADY_TIME)
        )

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self.runs:
            self.now_ns += round((now_s - self._before_s) * 1e9)
        self._before_s = now_s
        if self.speaks:
            self._publisher.publish(Clock(clock=time_message(self.now_ns)))

    def close(self) -> None:
        """Take it from the graph."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)


def _run(bench: PlannerTestBench, clock: SimulatedClock) -> None:
    bench.begin(SIMULATED)
    bench.camera.now_ns = lambda: clock.now_ns
    bench.camera.sending = True
    bench.camera.goal()
    bench.wait_running()
    bench.spin_for(0.3)


def _jumps(bench: PlannerTestBench, seconds: int, state: State) -> Outcome:
    clock = SimulatedClock(bench.node)
    try:
        _run(bench, clock)
        bench.camera.sending = False
        fault_s = bench.now_s
        clock.now_ns += seconds * 10**9
        reaction_s = stopped(bench, fault_s, state)
        bench.camera.sending = True
        return Outcome(reaction_s, drives_again(bench, PATIENCE_S))
    finally:
        clock.close()


def _pauses(bench: PlannerTestBench) -> Outcome:
    clock = SimulatedClock(bench.node)
    try:
        _run(bench, clock)
        fault_s = bench.now_s
        clock.runs = False
        reaction_s = stopped(bench, fault_s, State.STALE_IMAGE)
        clock.runs = True
        return Outcome(reaction_s, drives_again(bench, PATIENCE_S))
    finally:
        clock.close()


SCENARIOS: dict[str, Scenario] = {
    'simulated clock jumps ahead': partial(_jumps, seconds=100, state=State.STALE_IMAGE),
    'simulated clock jumps back': partial(_jumps, seconds=-100, state=State.WAITING_IMAGE),
    'simulated time pauses': _pauses,
}
