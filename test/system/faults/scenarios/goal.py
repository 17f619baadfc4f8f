"""Scenarios: what can be wrong with the goal."""

from __future__ import annotations

import itertools

from grasp_ros.control.types import State
from system.faults.observer import speed
from system.faults.scenario import Outcome, Scenario, drives_again, drives_on, stopped
from system.faults.stage import PATIENCE_S, PlannerTestBench, StageError
from system.faults.table import by_name

CLEARLY = 5.0
"""Change of the goal distance that tells a new goal from progress, model steps."""
GIVE_UP_S = by_name('goal cannot be reached').provoked_with['goal.give_up_time']
SHAKE_M = 0.03


def _is_missing(stage: PlannerTestBench) -> Outcome:
    stage.activate()
    stage.camera.sending = True
    stage.wait(lambda: stage.camera.sent, PATIENCE_S, 'the camera sent nothing')
    fault_s = stage.camera.sent[0][0]
    waiting = State.WAITING_GOAL
    stage.wait(
        lambda: stage.observer.status_since(fault_s, waiting), PATIENCE_S, 'nothing was reported'
    )
    told = stage.observer.status_since(fault_s, waiting)
    assert told is not None
    stage.spin(0.5)
    if stage.observer.commands:
        raise StageError('a command was published without a goal')
    stage.camera.goal()
    return Outcome(told.time_s - fault_s, drives_again(stage))


def _is_replaced(stage: PlannerTestBench) -> Outcome:
    """The reaction is the first tick that no longer follows the old plan."""
    stage.run()
    camera, observer = stage.camera, stage.observer
    before = observer.statuses[-1].message.goal_distance
    fault_s = stage.now_s
    camera.goal(camera.render(camera.robot.episode.start))

    def dropped_s() -> float | None:
        for arrival in observer.statuses:
            status = arrival.message
            changed = abs(status.goal_distance - before) > CLEARLY
            if arrival.time_s >= fault_s and (status.state != State.RUNNING or changed):
                return arrival.time_s
        return None

    stage.wait(dropped_s, PATIENCE_S, 'the plan for the old goal was not dropped')
    reaction_s = dropped_s()
    assert reaction_s is not None
    stops = [a for a in observer.commands_since(fault_s) if not speed(a.message)]
    told = {State(a.message.state) for a in observer.statuses if a.time_s >= fault_s}
    if stops and told == {State.RUNNING}:
        raise StageError('a stop came without a state that says why')
    return Outcome(reaction_s - fault_s, drives_again(stage))


def _is_republished(stage: PlannerTestBench) -> Outcome:
    stage.run()
    fault_s = stage.now_s
    stage.camera.goal()
    return Outcome(drives_on(stage, fault_s), drives_again(stage))


def _cannot_be_reached(stage: PlannerTestBench) -> Outcome:
    """The robot is held where it is, but shakes: its camera is not frozen."""
    stage.run({'goal.give_up_time': GIVE_UP_S})
    camera = stage.camera
    held = camera.robot.position
    shakes = itertools.cycle((held, held + SHAKE_M))
    fault_s = stage.after_a_picture()
    camera.alter = lambda _picture: camera.render(next(shakes))
    reaction_s = stopped(stage, fault_s, State.STALLED)
    camera.heal()
    camera.goal(camera.render(camera.robot.episode.start))
    return Outcome(reaction_s, drives_again(stage))


SCENARIOS: dict[str, Scenario] = {
    'goal is missing': _is_missing,
    'goal is replaced in mid-run': _is_replaced,
    'goal is republished unchanged': _is_republished,
    'goal cannot be reached': _cannot_be_reached,
}
