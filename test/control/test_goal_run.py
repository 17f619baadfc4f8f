"""A run towards a goal, tick by tick."""

import math

import pytest

from grasp_ros.control.progress import GoalRun, Outcome
from grasp_ros.control.types import State

NAN = math.nan


def test_it_is_reached_once_it_was_held():
    run = GoalRun(0.0, 0.5)
    assert run.advance(0.0, State.RUNNING, 4.0) is None
    for _ in range(5):
        assert run.advance(0.1, State.REACHED, 0.1) is None
    assert run.advance(0.1, State.REACHED, 0.1) is Outcome.REACHED
    assert run.elapsed_s == pytest.approx(0.6)
    assert run.distance == 0.1


def test_holding_begins_anew_where_the_goal_is_lost():
    run = GoalRun(0.0, 0.2)
    for state in (State.REACHED, State.REACHED, State.STALE_IMAGE, State.REACHED, State.REACHED):
        assert run.advance(0.1, state, 1.0) is None
    assert run.advance(0.15, State.REACHED, 1.0) is Outcome.REACHED


def test_without_a_hold_time_it_is_reached_at_once():
    assert GoalRun(0.0, 0.0).advance(0.1, State.REACHED, 1.0) is Outcome.REACHED


def test_it_stalls_as_the_controller_does():
    assert GoalRun(0.0, 0.5).advance(0.1, State.STALLED, 1.0) is Outcome.STALLED


def test_it_times_out_while_the_goal_is_not_held():
    run = GoalRun(1.0, 10.0)
    assert run.advance(0.9, State.REACHED, 1.0) is None
    assert run.advance(0.1, State.REACHED, 1.0) is Outcome.TIMED_OUT


def test_without_a_timeout_it_never_times_out():
    run = GoalRun(0.0, 0.5)
    assert run.advance(1e6, State.DISABLED, NAN) is None


def test_progress_is_from_the_first_distance_to_the_goal():
    run = GoalRun(0.0, 0.5)
    seen = []
    for distance in (NAN, 4.0, 5.0, 3.0, NAN, 1.0, 0.0):
        run.advance(0.1, State.RUNNING, distance)
        seen.append(run.progress)
    assert seen == [0.0, 0.0, 0.0, 0.25, 0.25, 0.75, 1.0]
    at_the_goal = GoalRun(0.0, 0.5)
    at_the_goal.advance(0.1, State.RUNNING, 0.0)
    assert at_the_goal.progress == 1.0
