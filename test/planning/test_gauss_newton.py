"""Levenberg-Marquardt steps of the actions against what is known of least squares."""

from dataclasses import replace

import pytest
import torch

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.gauss_newton import first_damping, gauss_newton_step
from grasp_ros.planning.objective import goal_distance, lifted_gradients
from harness.toy_models import (
    LinearModel,
    LinearModelWithHead,
    SmoothModel,
    SmoothModelWithHead,
    problem_for,
)


def start(model, horizon, *, batch=2, bound=1.0, seed=0):
    """A problem, virtual states near the rollout of other actions, and actions."""
    problem = problem_for(model, horizon, batch=batch, bound=bound, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=model.dtype)

    wanted = 0.3 * bound * draw(batch, horizon, model.action_dim)
    states = rollout(model, problem.context, problem.past_actions, wanted)
    return problem, states, wanted, draw


def loss_of(distance, problem, states, actions, goal_weight):
    return lifted_gradients(distance, problem, states, actions, goal_weight=goal_weight)


def descend(distance, problem, states, actions, count, *, goal_weight=0.0, damping=0.0, rows=None):
    damping = first_damping(actions, distance.model.history, damping)
    for _ in range(count):
        step = gauss_newton_step(
            distance, problem, states, actions, damping, goal_weight=goal_weight, max_rows=rows
        )
        actions, damping = step.actions, step.damping
    return step


def linear_model(with_head=False):
    dynamics = torch.tensor([[0.9, -0.3, 0.1], [0.2, 0.8, 0.0], [0.1, 0.1, 1.0]]).double()
    control = torch.tensor([[0.5, 0.1], [0.1, 0.4], [0.0, 0.3]]).double()
    return (LinearModelWithHead if with_head else LinearModel)(dynamics, control)


def test_one_step_solves_a_linear_model():
    """The wanted actions are the only ones without residuals; the goal must not matter."""
    model = linear_model(with_head=True)
    problem, states, wanted, _ = start(model, 6)
    step = descend(goal_distance(model), problem, states, torch.zeros_like(wanted), 1)
    torch.testing.assert_close(step.actions[:, :-1], wanted[:, :-1])
    torch.testing.assert_close(
        step.predictions[:, :-1], rollout(model, problem.context, problem.past_actions,
                                          step.actions)[:, :-1]
    )  # fmt: skip


def test_one_step_finds_the_compromise_with_a_latent_goal():
    model = linear_model()
    problem, states, wanted, _ = start(model, 5, bound=20.0)
    distance = goal_distance(model, 'latent')
    step = descend(distance, problem, states, torch.zeros_like(wanted), 1, goal_weight=0.7)
    found = loss_of(distance, problem, states, step.actions, 0.7)
    torch.testing.assert_close(found.actions, torch.zeros_like(wanted), atol=1e-7, rtol=0)


@pytest.mark.parametrize('history', [2, 3])
def test_with_more_history_the_banded_system_is_solved(history):
    """Every action appears in several residuals: the minimum is where their gradient is zero."""
    model = SmoothModel(history, (4,), 2)
    problem, states, wanted, draw = start(model, 7, bound=10.0)
    distance = goal_distance(model, 'latent')
    states = states + 0.02 * draw(*states.shape)
    step = descend(
        distance, problem, states, wanted, 30, goal_weight=0.01, damping=1e-3, rows=11
    )
    found = loss_of(distance, problem, states, step.actions, 0.01)
    before = loss_of(distance, problem, states, wanted, 0.01)
    assert (found.loss < before.loss).all()
    assert found.actions.abs().max() < 1e-4 * before.actions.abs().max()


def test_a_component_at_its_bound_stays_and_the_others_reach_their_best():
    """Clamping the free minimum would miss it where components are coupled."""
    model = LinearModel(control=torch.tensor([[1.0, 0.8], [0.0, 0.6]]).double())
    problem, _, _, _ = start(model, 3, batch=1, bound=0.5)
    target = problem.context[:, -1:] + torch.tensor([2.0, 0.1]).double()
    states = target.expand(-1, 3, -1)
    problem = replace(problem, goal=states[:, 0])
    actions = torch.full((1, 3, 2), -0.4).double()
    distance = goal_distance(model, 'latent')
    step = descend(distance, problem, states, actions, 60, damping=1e-3)
    first = torch.cartesian_prod(*[torch.linspace(-0.5, 0.5, 201).double()] * 2)
    gap = problem.context[:, -1] + first @ model.control.T - target[0]
    best = first[gap.square().sum(-1).argmin()]
    torch.testing.assert_close(step.actions[0, 0], best, atol=0.003, rtol=0)


@pytest.mark.parametrize(
    'model',
    [SmoothModelWithHead(1, (4,), 3), SmoothModelWithHead(3, (3, 2), 2), LinearModelWithHead()],
)
@pytest.mark.parametrize('seed', range(3))
def test_the_loss_never_rises_and_the_bounds_hold(model, seed):
    problem, states, wanted, draw = start(model, 8, batch=3, bound=0.4, seed=seed)
    states = states + draw(*states.shape)
    distance = goal_distance(model, 'time_to_reach')
    actions = wanted.clamp(-0.4, 0.4)
    damping = first_damping(actions, model.history, 1e-6)
    last = loss_of(distance, problem, states, actions, 0.5).loss
    began = last
    for _ in range(6):
        step = gauss_newton_step(
            distance, problem, states, actions, damping, goal_weight=0.5
        )
        actions, damping = step.actions, step.damping
        assert (actions.abs() <= 0.4).all()
        now = loss_of(distance, problem, states, actions, 0.5).loss
        assert (now <= last + 1e-9).all()
        torch.testing.assert_close(step.loss.sum(dim=1), now, rtol=1e-6, atol=1e-6)
        last = now
    assert (last < began).all()


def test_nan_moves_nothing():
    model = LinearModel()
    problem, states, wanted, _ = start(model, 4)
    model.broken = True
    step = descend(goal_distance(model), problem, states, wanted.clamp(-1, 1), 2, damping=1e-3)
    assert torch.equal(step.actions, wanted.clamp(-1, 1))
