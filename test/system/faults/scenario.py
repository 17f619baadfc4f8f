"""How scenarios are told: what a fault led to, and what nearly all of them do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grasp_ros.control.types import State
from system.faults.camera import ScriptedCamera
from system.faults.observer import speed
from system.faults.stage import PATIENCE_S, PlannerTestBench, StageError

HOLD_S = 0.3
BRIEFLY_S = 0.05
"""Hold of a stop that may end by itself at any time: only for messages on their way."""
WATCHED_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a fault led to.

    Attributes:
        reaction_s: seconds from the fault to the reaction that the table names.
        recovered: whether the robot was driven again afterwards.
    """

    reaction_s: float
    recovered: bool


Scenario = Callable[[PlannerTestBench], Outcome]
Spoil = Callable[[ScriptedCamera], None]


def stopped(stage: PlannerTestBench, fault_s: float, state: State, hold_s: float = HOLD_S) -> float:
    """Wait for the stop and the state that says why.

    Args:
        stage: with a robot that was driven when the fault came.
        fault_s: when that was, on the monotonic clock.
        state: to be reported.
        hold_s: how long nothing but stops may follow, seconds.

    Returns:
        Seconds from the fault to the later of stop and state.

    Raises:
        StageError: if they do not come, or the robot is driven again.
    """
    observer = stage.observer
    stage.wait(
        lambda: observer.status_since(fault_s, state), PATIENCE_S, f'{state.name} was not reported'
    )
    told = observer.status_since(fault_s, state)
    assert told is not None
    stage.spin(hold_s)
    commands = observer.commands_since(fault_s)
    last_motion_s = max((a.time_s for a in commands if speed(a.message)), default=fault_s)
    if last_motion_s > told.time_s:
        raise StageError(f'the robot is driven although {state.name} was reported')
    stops = [a.time_s for a in commands if a.time_s > last_motion_s]
    if not stops:
        raise StageError('no stop was published')
    return max(stops[0], told.time_s) - fault_s


def drives_on(stage: PlannerTestBench, fault_s: float, seconds: float = WATCHED_S) -> float:
    """See that a fault disturbs nothing.

    Returns:
        Seconds from the fault to the next command that moves the robot.

    Raises:
        StageError: if the planner leaves RUNNING within `seconds`.
    """
    stage.spin(seconds)
    states = stage.observer.states_since(fault_s)
    if states != {State.RUNNING}:
        raise StageError(f'the planner left RUNNING: {[state.name for state in sorted(states)]}')
    moves = [a for a in stage.observer.commands_since(fault_s) if speed(a.message)]
    if not moves:
        raise StageError('the robot is no longer driven')
    return moves[0].time_s - fault_s


def omission(
    stage: PlannerTestBench, spoil: Spoil, state: State, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera that no longer does what it should, from half a period after a good picture."""
    stage.run(values)
    fault_s = stage.after_a_picture()
    spoil(stage.camera)
    reaction_s = stopped(stage, fault_s, state)
    return Outcome(reaction_s, heals(stage))


def commission(
    stage: PlannerTestBench, spoil: Spoil, state: State, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera that does something wrong; the fault is the publication of the first picture."""
    stage.run(values)
    fault_s = spoiled(stage, spoil)
    reaction_s = stopped(stage, fault_s, state)
    return Outcome(reaction_s, heals(stage))


def tolerated(
    stage: PlannerTestBench, spoil: Spoil, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera whose change the planner must take, and plan from the changed pictures."""
    stage.run(values)
    fault_s = spoiled(stage, spoil)
    stamp = stage.camera.sent[-1][1]
    reaction_s = drives_on(stage, fault_s)
    stage.wait(
        lambda: stage.observer.planned_from_since(stamp),
        PATIENCE_S,
        'no plan was made from a changed picture',
    )
    return Outcome(reaction_s, heals(stage))


def spoiled(stage: PlannerTestBench, spoil: Spoil) -> float:
    """Spoil the camera and wait for the first picture from it; its time, monotonic seconds."""
    seen = len(stage.camera.sent)
    spoil(stage.camera)
    stage.wait(lambda: len(stage.camera.sent) > seen, PATIENCE_S, 'the camera sent nothing')
    return stage.camera.sent[seen][0]


def heals(stage: PlannerTestBench) -> bool:
    """Whether the robot is driven again with a healthy camera."""
    stage.camera.heal()
    return drives_again(stage)


def drives_again(stage: PlannerTestBench, timeout_s: float = PATIENCE_S) -> bool:
    """Whether the robot is driven from now on."""
    return stage.until(stage.runs_since(stage.now_s), timeout_s)
