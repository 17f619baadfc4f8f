"""The previous plan moved on in time, cut or extended; the line to the goal."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grasp_ros.planning.initial_guess import cold_start, resize, shift
from grasp_ros.planning.problem import Plan
from harness.toy_models import LinearModel, SmoothModel, problem_for

STOP = torch.tensor([-5.0, -6.0])
SHAPES = st.sampled_from([(4,), (3, 2)])


def make_plan(horizon, shape=(4,), batch=2):
    """Every action and state tells its step; states count from 1."""
    steps = torch.arange(horizon, dtype=torch.float32)
    like = (batch, horizon, *shape)
    states = (steps + 1).reshape(1, -1, *[1] * len(shape)).expand(like)
    return Plan(
        actions=steps[None, :, None].expand(batch, horizon, 2),
        states=states,
        rollout=states + 100,
        terminal_cost=torch.zeros(batch),
        defect=torch.zeros(batch),
        iterations=1,
        solve_time_s=0.0,
    )


def check_shapes(plan, horizon, shape):
    assert plan.horizon == horizon
    assert plan.actions.shape == (2, horizon, 2)
    assert plan.states.shape == plan.rollout.shape == (2, horizon, *shape)


@given(st.integers(1, 12), st.integers(0, 30), SHAPES)
def test_shift_drops_what_was_executed_and_then_stops(horizon, steps, shape):
    plan = make_plan(horizon, shape)
    shifted = shift(plan, steps, STOP)
    check_shapes(shifted, horizon, shape)
    for index in range(horizon):
        if index + steps < horizon:
            assert (shifted.actions[:, index] == index + steps).all()
        else:
            assert (shifted.actions[:, index] == STOP).all()
        held = min(index + steps, horizon - 1)
        assert (shifted.states[:, index] == held + 1).all()
        assert (shifted.rollout[:, index] == held + 101).all()


@given(st.integers(1, 12), st.integers(0, 8), st.integers(0, 8))
def test_shifting_twice_is_shifting_once(horizon, first, second):
    plan = make_plan(horizon)
    twice, once = shift(shift(plan, first, STOP), second, STOP), shift(plan, first + second, STOP)
    for name in ('actions', 'states', 'rollout'):
        assert torch.equal(getattr(twice, name), getattr(once, name))


def test_steps_must_not_be_negative():
    with pytest.raises(ValueError, match='must not be negative, is -1'):
        shift(make_plan(3), -1, STOP)


@given(st.integers(1, 12), st.integers(1, 20), SHAPES)
def test_resize_cuts_or_stops(horizon, wanted, shape):
    plan = make_plan(horizon, shape)
    resized = resize(plan, wanted, STOP)
    check_shapes(resized, wanted, shape)
    common = min(horizon, wanted)
    assert torch.equal(resized.actions[:, :common], plan.actions[:, :common])
    assert torch.equal(resized.states[:, :common], plan.states[:, :common])
    assert (resized.actions[:, common:] == STOP).all()
    assert (resized.states[:, common:] == horizon).all()
    assert (resized.rollout[:, common:] == horizon + 100).all()


@pytest.mark.parametrize('shape', [(4,), (3, 2)])
def test_a_cold_start_is_a_straight_line_with_the_robot_standing(shape):
    model = SmoothModel(3, shape, 2)
    problem = problem_for(model, 5, batch=2)
    problem = replace(problem, stop_action=torch.tensor([0.25, -0.5]).double())
    states, actions = cold_start(problem)
    assert states.shape == (2, 5, *shape)
    start = problem.context[:, -1]
    for step in range(5):
        expected = start + (problem.goal - start) * (step + 1) / 5
        torch.testing.assert_close(states[:, step], expected)
    torch.testing.assert_close(states[:, -1], problem.goal)
    assert (actions == problem.stop_action).all()


def test_a_cold_start_can_be_written_to():
    problem = problem_for(LinearModel(), 4)
    states, actions = cold_start(problem)
    states += 1
    actions += 1
    assert not problem.stop_action.any()
