"""Building blocks of scenarios: the outcome of a fault, and what nearly all of them do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grasp_ros.control.types import State
from grasp_ros.tools.demo.bench import BenchError, speed
from system.faults.bench import PATIENCE_S, PlannerTestBench
from system.faults.camera import ScriptedCamera

HOLD_S = 0.3
BRIEFLY_S = 0.05
"""Hold of a stop that may end by itself at any time: only for messages on their way."""
WATCHED_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """Reaction to a fault, and recovery.

    Attributes:
        reaction_s: seconds from the fault to the reaction that the table names.
        recovered: whether the robot was driven again afterwards.
    """

    reaction_s: float
    recovered: bool


Scenario = Callable[[PlannerTestBench], Outcome]
Inject = Callable[[ScriptedCamera], None]


def stopped(bench: PlannerTestBench, fault_s: float, state: State, hold_s: float = HOLD_S) -> float:
    """Wait for the stop and the state that says why.

    Args:
        bench: with a robot that was driven when the fault came.
        fault_s: when that was, on the monotonic clock.
        state: to be reported.
        hold_s: how long nothing but stops may follow, seconds.

    Returns:
        Seconds from the fault to the later of stop and state.

    Raises:
        BenchError: if they do not come, or the robot is driven again.
    """
    bench.wait(
        lambda: bench.status_since(fault_s, state), PATIENCE_S, f'{state.name} was not reported'
    )
    told = bench.status_since(fault_s, state)
    assert told is not None
    bench.spin_for(hold_s)
    commands = bench.commands_since(fault_s)
    last_motion_s = max((a.time_s for a in commands if speed(a.message)), default=fault_s)
    if last_motion_s > told.time_s:
        raise BenchError(f'the robot is driven although {state.name} was reported')
    stops = [a.time_s for a in commands if a.time_s > last_motion_s]
    if not stops:
        raise BenchError('no stop was published')
    return max(stops[0], told.time_s) - fault_s


def drives_on(bench: PlannerTestBench, fault_s: float, seconds: float = WATCHED_S) -> float:
    """See that a fault disturbs nothing.

    Returns:
        Seconds from the fault to the next command that moves the robot.

    Raises:
        BenchError: if the planner leaves RUNNING within `seconds`.
    """
    bench.spin_for(seconds)
    states = bench.states_since(fault_s)
    if states != {State.RUNNING}:
        raise BenchError(f'the planner left RUNNING: {[state.name for state in sorted(states)]}')
    moves = [a for a in bench.commands_since(fault_s) if speed(a.message)]
    if not moves:
        raise BenchError('the robot is no longer driven')
    return moves[0].time_s - fault_s


def omission(
    bench: PlannerTestBench, inject: Inject, state: State, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera that no longer does what it should, from half a period after a good image."""
    bench.run(values)
    fault_s = bench.after_an_image()
    inject(bench.camera)
    reaction_s = stopped(bench, fault_s, state)
    return Outcome(reaction_s, recovers(bench))


def commission(
    bench: PlannerTestBench, inject: Inject, state: State, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera that does something wrong; the fault is the publication of the first image."""
    bench.run(values)
    fault_s = injected(bench, inject)
    reaction_s = stopped(bench, fault_s, state)
    return Outcome(reaction_s, recovers(bench))


def tolerated(
    bench: PlannerTestBench, inject: Inject, values: Mapping[str, Any] | None = None
) -> Outcome:
    """A camera whose change the planner must take, and plan from the changed images."""
    bench.run(values)
    fault_s = injected(bench, inject)
    stamp = bench.camera.sent[-1][1]
    reaction_s = drives_on(bench, fault_s)
    bench.wait(
        lambda: bench.planned_from_since(stamp),
        PATIENCE_S,
        'no plan was made from a changed image',
    )
    return Outcome(reaction_s, recovers(bench))


def injected(bench: PlannerTestBench, inject: Inject) -> float:
    """Let the camera fail and wait for the first image since; its time, monotonic seconds."""
    seen = len(bench.camera.sent)
    inject(bench.camera)
    bench.wait(lambda: len(bench.camera.sent) > seen, PATIENCE_S, 'the camera sent nothing')
    return bench.camera.sent[seen][0]


def recovers(bench: PlannerTestBench) -> bool:
    """Whether the robot is driven again with a healthy camera."""
    bench.camera.heal()
    return drives_again(bench)


def drives_again(bench: PlannerTestBench, timeout_s: float = PATIENCE_S) -> bool:
    """Whether the robot is driven from now on."""
    return bench.spin_until(bench.runs_since(bench.now_s), timeout_s)
