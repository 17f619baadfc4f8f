"""Sweeps over virtual states against the serial rollout and autograd through it."""

import pytest
import torch

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.objective import goal_distance, rollout_cost
from grasp_ros.planning.sweeps import adjoint_gradient, sweep
from harness.toy_models import (
    ClockworkModel,
    LinearModelWithHead,
    SmoothModel,
    SmoothModelWithHead,
    problem_for,
)

MODELS = [
    LinearModelWithHead(torch.tensor([[0.9, -0.5], [0.4, 1.1]]).double()),
    SmoothModelWithHead(1, (4,), 2),
    SmoothModelWithHead(3, (3, 2), 2),
]


def draw(shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(distance, problem, actions, path_weight):
    """States and gradient of the serial rollout, by autograd."""
    actions = actions.clone().requires_grad_()
    states = rollout(distance.model, problem.context, problem.past_actions, actions)
    cost = rollout_cost(distance(states, problem.goal[:, None]), path_weight)
    return states.detach(), torch.autograd.grad(cost.sum(), [actions])[0]


@pytest.mark.parametrize('count', [0, 1, 4, 9])
def test_k_sweeps_make_the_first_k_states_exact(count):
    """With integers, to the last bit; the others are still wrong."""
    model = ClockworkModel()
    problem = problem_for(model, 9, batch=2)
    problem.context.round_()
    problem.past_actions.round_()
    actions, states = draw((2, 9, 1)).mul(9).round(), draw((2, 9, 2)).mul(9).round()
    serial = rollout(model, problem.context, problem.past_actions, actions)
    swept = sweep(model, problem, states, actions, count, max_rows=5)
    assert torch.equal(swept[:, :count], serial[:, :count])
    assert not (swept[:, count:] == serial[:, count:]).any(dim=-1).all() or count == 9


def test_a_sweep_is_one_call():
    model = SmoothModel(1, (4,), 2)
    problem = problem_for(model, 20)
    sweep(model, problem, draw((1, 20, 4)), draw((1, 20, 2)), 3)
    assert model.calls == 3


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('path_weight', [0.0, 1.0])
@pytest.mark.parametrize('max_rows', [None, 6])
def test_on_the_rollout_full_sweeps_give_its_gradient(model, kind, path_weight, max_rows):
    horizon = 8
    problem = problem_for(model, horizon, batch=2)
    actions = 0.4 * draw((2, horizon, model.action_dim))
    distance = goal_distance(model, kind)
    states, gradient = exact(distance, problem, actions, path_weight)
    found = adjoint_gradient(
        distance, problem, states, actions, path_weight, horizon, max_rows
    )
    torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('count', [0, 2])
def test_few_sweeps_see_few_steps_ahead(model, count):
    """Actions near enough to the end feel all that follows; earlier ones do not."""
    horizon = 7
    problem = problem_for(model, horizon)
    actions = 0.4 * draw((1, horizon, model.action_dim))
    distance = goal_distance(model)
    states, gradient = exact(distance, problem, actions, 0.0)
    found = adjoint_gradient(distance, problem, states, actions, 0.0, count)
    if model.history == 1:
        last = horizon - 1 - count
        torch.testing.assert_close(found[:, last:], gradient[:, last:])
        assert torch.equal(found[:, :last], torch.zeros_like(found[:, :last]))
    else:
        assert not torch.allclose(found, gradient)


def test_a_horizon_of_one_step():
    model = MODELS[2]
    problem = problem_for(model, 1)
    actions = draw((1, 1, 2))
    distance = goal_distance(model)
    states, gradient = exact(distance, problem, actions, 1.0)
    torch.testing.assert_close(
        adjoint_gradient(distance, problem, states, actions, 1.0, 4), gradient
    )
