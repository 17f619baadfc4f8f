"""Scenarios: what can go wrong in a solve."""

from __future__ import annotations

from functools import partial

from grasp_ros.control.types import State
from system.faults import faulty_planner
from system.faults.scenario import (
    BRIEFLY_S,
    HOLD_S,
    WATCHED_S,
    Outcome,
    Scenario,
    drives_again,
    stopped,
)
from system.faults.stage import PATIENCE_S, PlannerTestBench, StageError


def ordered(stage: PlannerTestBench, order: str) -> float:
    """Drive, then let solves fail; when the first did, on the monotonic clock."""
    stage.run()
    stage.orders.give(order)
    stage.wait(lambda: stage.orders.obeyed_s() is not None, PATIENCE_S, 'no solve has failed')
    fault_s = stage.orders.obeyed_s()
    assert fault_s is not None
    return fault_s


def _fails(stage: PlannerTestBench, order: str, state: State, hold_s: float = HOLD_S) -> Outcome:
    fault_s = ordered(stage, order)
    reaction_s = stopped(stage, fault_s, state, hold_s)
    stage.orders.withdraw()
    return Outcome(reaction_s, drives_again(stage))


def _loses_its_device(stage: PlannerTestBench) -> Outcome:
    fault_s = ordered(stage, faulty_planner.DEVICE_LOST)
    reaction_s = stopped(stage, fault_s, State.PLANNER_ERROR)
    stage.orders.withdraw()
    if drives_again(stage, WATCHED_S):
        raise StageError('the planner went on with a lost device')
    stage.forget_configuration()
    stage.run()
    return Outcome(reaction_s, True)


SCENARIOS: dict[str, Scenario] = {
    'planner raises': partial(_fails, order=faulty_planner.RAISE, state=State.PLANNER_ERROR),
    'planner returns NaN': partial(_fails, order=faulty_planner.NAN, state=State.BAD_PLAN),
    'planner overruns': partial(
        _fails, order=faulty_planner.OVERRUN, state=State.PLAN_EXPIRED, hold_s=BRIEFLY_S
    ),
    'planner hangs': partial(
        _fails, order=faulty_planner.HANG, state=State.PLANNER_ERROR
    ),
    'GPU runs out of memory': partial(
        _fails,
        order=faulty_planner.OUT_OF_MEMORY,
        state=State.PLANNER_ERROR,
        hold_s=BRIEFLY_S,
    ),
    'GPU is lost': _loses_its_device,
}
