"""Scenarios: what can go wrong in a solve."""

from __future__ import annotations

from functools import partial

from grasp_ros.control.types import State
from grasp_ros.tools.demo.bench import BenchError
from system.faults import faulty_planner
from system.faults.bench import PATIENCE_S, PlannerTestBench
from system.faults.scenario import (
    BRIEFLY_S,
    HOLD_S,
    WATCHED_S,
    Outcome,
    Scenario,
    drives_again,
    stopped,
)


def failing(bench: PlannerTestBench, fault: str) -> float:
    """Drive, then let solves fail; when the first did, on the monotonic clock."""
    bench.run()
    bench.injector.inject(fault)
    bench.wait(lambda: bench.injector.happened_s() is not None, PATIENCE_S, 'no solve has failed')
    fault_s = bench.injector.happened_s()
    assert fault_s is not None
    return fault_s


def _fails(bench: PlannerTestBench, fault: str, state: State, hold_s: float = HOLD_S) -> Outcome:
    fault_s = failing(bench, fault)
    reaction_s = stopped(bench, fault_s, state, hold_s)
    bench.injector.withdraw()
    return Outcome(reaction_s, drives_again(bench))


def _loses_its_device(bench: PlannerTestBench) -> Outcome:
    fault_s = failing(bench, faulty_planner.DEVICE_LOST)
    reaction_s = stopped(bench, fault_s, State.PLANNER_ERROR)
    bench.injector.withdraw()
    if drives_again(bench, WATCHED_S):
        raise BenchError('the planner went on with a lost device')
    bench.forget_configuration()
    bench.run()
    return Outcome(reaction_s, True)


SCENARIOS: dict[str, Scenario] = {
    'planner raises': partial(_fails, fault=faulty_planner.RAISE, state=State.PLANNER_ERROR),
    'planner returns NaN': partial(_fails, fault=faulty_planner.NAN, state=State.BAD_PLAN),
    'planner overruns': partial(
        _fails, fault=faulty_planner.OVERRUN, state=State.PLAN_EXPIRED, hold_s=BRIEFLY_S
    ),
    'planner hangs': partial(
        _fails, fault=faulty_planner.HANG, state=State.PLANNER_ERROR
    ),
    'GPU runs out of memory': partial(
        _fails,
        fault=faulty_planner.OUT_OF_MEMORY,
        state=State.PLANNER_ERROR,
        hold_s=BRIEFLY_S,
    ),
    'GPU is lost': _loses_its_device,
}
