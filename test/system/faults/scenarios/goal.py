"""Scenarios: what can be wrong with the goal."""

from __future__ import annotations

import itertools

from grasp_ros.control.types import State
from grasp_ros.tools.demo.bench import BenchError, speed
from harness.camera import render
from system.faults.bench import PATIENCE_S, PlannerTestBench
from system.faults.scenario import Outcome, Scenario, drives_again, drives_on, stopped
from system.faults.table import by_name

CLEARLY = 5.0
"""Change of the goal distance that tells a new goal from progress, model steps."""
GIVE_UP_S = by_name('goal cannot be reached').provoked_with['goal.give_up_time']
SHAKE_M = 0.03


def _is_missing(bench: PlannerTestBench) -> Outcome:
    bench.begin()
    bench.camera.sending = True
    bench.wait(lambda: bench.camera.sent, PATIENCE_S, 'the camera sent nothing')
    fault_s = bench.camera.sent[0][0]
    waiting = State.WAITING_GOAL
    bench.wait(
        lambda: bench.status_since(fault_s, waiting), PATIENCE_S, 'nothing was reported'
    )
    told = bench.status_since(fault_s, waiting)
    assert told is not None
    bench.spin_for(0.5)
    if bench.commands:
        raise BenchError('a command was published without a goal')
    bench.camera.goal()
    return Outcome(told.time_s - fault_s, drives_again(bench))


def _is_replaced(bench: PlannerTestBench) -> Outcome:
    """The reaction is the first tick that no longer follows the old plan."""
    bench.run()
    camera = bench.camera
    before = bench.statuses[-1].message.goal_distance
    fault_s = bench.now_s
    camera.goal(render(camera.robot.episode.start))

    def dropped_s() -> float | None:
        for arrival in bench.statuses:
            status = arrival.message
            changed = abs(status.goal_distance - before) > CLEARLY
            if arrival.time_s >= fault_s and (status.state != State.RUNNING or changed):
                return arrival.time_s
        return None

    bench.wait(dropped_s, PATIENCE_S, 'the plan for the old goal was not dropped')
    reaction_s = dropped_s()
    assert reaction_s is not None
    stops = [a for a in bench.commands_since(fault_s) if not speed(a.message)]
    told = {State(a.message.state) for a in bench.statuses if a.time_s >= fault_s}
    if stops and told == {State.RUNNING}:
        raise BenchError('a stop came without a state that says why')
    return Outcome(reaction_s - fault_s, drives_again(bench))


def _is_republished(bench: PlannerTestBench) -> Outcome:
    bench.run()
    fault_s = bench.now_s
    bench.camera.goal()
    return Outcome(drives_on(bench, fault_s), drives_again(bench))


def _cannot_be_reached(bench: PlannerTestBench) -> Outcome:
    """The robot is held where it is, but shakes: its camera is not frozen."""
    bench.run({'goal.give_up_time': GIVE_UP_S})
    camera = bench.camera
    held = camera.robot.position
    shakes = itertools.cycle((held, held + SHAKE_M))
    fault_s = bench.after_an_image()
    camera.alter = lambda _image: render(next(shakes))
    reaction_s = stopped(bench, fault_s, State.STALLED)
    camera.heal()
    camera.goal(render(camera.robot.episode.start))
    return Outcome(reaction_s, drives_again(bench))


SCENARIOS: dict[str, Scenario] = {
    'goal is missing': _is_missing,
    'goal is replaced in mid-run': _is_replaced,
    'goal is republished unchanged': _is_republished,
    'goal cannot be reached': _cannot_be_reached,
}
