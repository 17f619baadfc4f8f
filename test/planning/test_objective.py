"""The lifted loss and its gradients, against a plain implementation step by step."""

import pytest
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.protocol import rollout
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.objective import (
    GoalDistance,
    goal_distance,
    lifted_gradients,
    rollout_cost,
    rollout_gradient,
    squared_error,
)
from grasp_ros.planning.problem import PlanProblem
from harness.toy_models import LinearModel, LinearModelWithHead, SmoothModel, SmoothModelWithHead
from harness.toy_models import problem_for as make_problem

HORIZON = 6
CANDIDATES = 3
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-9}
SHAPES = [(1, (4,)), (1, (3, 2)), (3, (4,)), (3, (3, 2))]


def plain(distance, problem, states, actions, goal_weight, stop_gradient):
    """Loss (B,), gradients in states and actions: one candidate and one step at a time."""
    model = distance.model
    history, horizon = model.history, actions.shape[1]
    losses, of_states, of_actions = [], torch.zeros_like(states), torch.zeros_like(actions)
    for row in range(len(actions)):
        free = [state.clone().requires_grad_() for state in states[row]]
        acts = [action.clone().requires_grad_() for action in actions[row]]
        frames = [*problem.context[row], *free]
        taken = [*problem.past_actions[row], *acts]
        goal = problem.goal[row]
        loss = torch.zeros((), dtype=states.dtype)
        for step in range(horizon):
            inputs = torch.stack(frames[step : step + history])
            if stop_gradient:
                inputs = inputs.detach()
            window = torch.stack(taken[step : step + history])
            predicted = model.predict(inputs[None], window[None])[0]
            last = step == horizon - 1
            if distance.kind == 'latent' or not last:
                loss = loss + ((predicted - free[step]) ** 2).mean()
            if distance.kind == 'latent':
                loss = loss + goal_weight * ((predicted - goal) ** 2).mean()
            else:
                loss = loss + goal_weight * model.time_to_reach(predicted, goal)
        found = torch.autograd.grad(loss, [*free, *acts], allow_unused=True)
        losses.append(loss.detach())
        for step in range(horizon - 1):  # the last state is no variable
            of_states[row, step] = found[step]
        for step in range(horizon):
            of_actions[row, step] = found[horizon + step]
    return torch.stack(losses), of_states, of_actions


def random_point(model, batch, horizon, seed=3):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn((batch, horizon, *model.latent_shape), generator=generator).double()
    actions = torch.randn((batch, horizon, model.action_dim), generator=generator).double()
    return states, actions


@pytest.mark.parametrize('stop_gradient', [True, False])
@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize(('history', 'shape'), SHAPES)
@pytest.mark.parametrize('max_rows', [None, 1, 7])
def test_gradients_equal_the_plain_ones(history, shape, kind, stop_gradient, max_rows):
    model = SmoothModelWithHead(history, shape, 2)
    distance = goal_distance(model, kind)
    problem = make_problem(model, HORIZON, batch=CANDIDATES)
    states, actions = random_point(model, CANDIDATES, HORIZON)
    found = lifted_gradients(
        distance,
        problem,
        states,
        actions,
        goal_weight=0.3,
        stop_gradient=stop_gradient,
        max_rows=max_rows,
    )
    calls, rows = model.calls, model.rows
    loss, of_states, of_actions = plain(distance, problem, states, actions, 0.3, stop_gradient)
    torch.testing.assert_close(found.loss, loss, **TOLERANCE)
    torch.testing.assert_close(found.states, of_states, **TOLERANCE)
    torch.testing.assert_close(found.actions, of_actions, **TOLERANCE)
    if max_rows is None:
        assert calls == 1, 'all steps of all candidates in one prediction'
    else:
        assert rows <= max(max_rows, CANDIDATES)


@pytest.mark.parametrize('stop_gradient', [True, False])
@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
def test_one_step_has_no_virtual_states(kind, stop_gradient):
    model = SmoothModelWithHead(1, (4,), 2)
    distance = goal_distance(model, kind)
    problem = make_problem(model, 1, batch=CANDIDATES)
    states, actions = random_point(model, CANDIDATES, 1)
    found = lifted_gradients(
        distance, problem, states, actions, goal_weight=1.0, stop_gradient=stop_gradient
    )
    loss, _, of_actions = plain(distance, problem, states, actions, 1.0, stop_gradient)
    torch.testing.assert_close(found.loss, loss, **TOLERANCE)
    torch.testing.assert_close(found.actions, of_actions, **TOLERANCE)
    assert not found.states.any()


def test_the_arguments_are_left_alone():
    model = SmoothModel(3, (4,), 2)
    problem = make_problem(model, HORIZON)
    states, actions = random_point(model, 1, HORIZON)
    kept = states.clone(), actions.clone()
    for stop_gradient in (True, False):
        lifted_gradients(
            goal_distance(model), problem, states, actions,
            goal_weight=1.0, stop_gradient=stop_gradient,
        )  # fmt: skip
    assert torch.equal(states, kept[0])
    assert torch.equal(actions, kept[1])
    assert not states.requires_grad
    assert not actions.requires_grad


def test_a_rollout_that_ends_at_the_goal_leaves_nothing_to_gain():
    model = LinearModel()
    problem = make_problem(model, HORIZON)
    goal_step = (problem.goal - problem.context[:, -1]) / HORIZON
    actions = goal_step[:, None].expand(-1, HORIZON, -1)
    states = rollout(model, problem.context, problem.past_actions, actions)
    found = lifted_gradients(goal_distance(model), problem, states, actions, goal_weight=0.0)
    for tensor in (found.loss, found.states, found.actions, found.residual):
        assert tensor.abs().max() < 1e-12


def test_the_residual_is_a_root_mean_square_in_latent_units():
    model = LinearModel()
    problem = make_problem(model, 3)
    actions = torch.zeros(1, 3, 2).double()
    states = problem.context.expand(1, 3, 2) + torch.tensor([3.0, 4.0]).double()
    found = lifted_gradients(goal_distance(model), problem, states, actions, goal_weight=1.0)
    expected = torch.tensor([[12.5**0.5, 0.0, 0.0]]).double()
    torch.testing.assert_close(found.residual, expected)


def test_goal_distances():
    plain_model, learned = LinearModel(), LinearModelWithHead()
    assert goal_distance(plain_model, 'auto').kind == 'latent'
    assert goal_distance(learned, 'auto').kind == 'time_to_reach'
    assert goal_distance(learned, 'latent').kind == 'latent'
    with pytest.raises(ValueError, match='time-to-reach head'):
        goal_distance(plain_model, 'time_to_reach')
    first, second = torch.zeros(4, 2, 3), torch.ones(3)
    assert squared_error(first, 2 * second, 1).shape == (4, 2)
    assert squared_error(first, 2 * second, 1)[0, 0] == 4.0
    assert squared_error(first, 3 * second, 2).tolist() == [9.0] * 4


def test_the_cost_of_a_rollout_is_its_end_and_a_share_of_its_way():
    distance = torch.tensor([[4.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    assert rollout_cost(distance, 0.0).tolist() == [0.0, 1.0]
    assert rollout_cost(distance, 2.0).tolist() == [4.0, 3.0]


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize(('history', 'shape'), SHAPES)
def test_the_gradient_of_a_rollout_is_autograds(history, shape, kind):
    model = SmoothModelWithHead(history, shape, 2)
    distance = goal_distance(model, kind)
    problem = make_problem(model, HORIZON, batch=CANDIDATES)
    actions = random_point(model, CANDIDATES, HORIZON)[1].requires_grad_()
    states = rollout(model, problem.context, problem.past_actions, actions)
    cost = rollout_cost(distance(states, problem.goal[:, None]), path_weight=0.7)
    (expected,) = torch.autograd.grad(cost.sum(), [actions])
    found = rollout_gradient(distance, problem, actions, path_weight=0.7)
    torch.testing.assert_close(found, expected, **TOLERANCE)


class HandWrittenAdam:
    """Kingma and Ba's algorithm 1, to check that rates and moments are what they should be."""

    def __init__(self, rate):
        self.rate, self.step = rate, 0
        self.first = self.second = 0.0

    def update(self, value, gradient):
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first = self.first / (1 - 0.9**self.step)
        second = self.second / (1 - 0.999**self.step)
        return value - self.rate * first / (second.sqrt() + 1e-8)


def compact_problem(horizon):
    torch.manual_seed(0)
    model = CompactModel(CompactConfig()).double().requires_grad_(False)
    images = torch.rand((2, 1, 3, 64, 64), generator=torch.Generator().manual_seed(1)).double()
    latents = 5 * model.embed(images[:, 0]).detach()
    limit = torch.full((2,), 1.8).double()
    return model, PlanProblem(
        context=latents[:1, None],
        past_actions=torch.zeros(1, 0, 2).double(),
        goal=latents[1:],
        action_low=-limit,
        action_high=limit,
        stop_action=torch.zeros(2).double(),
        horizon=horizon,
    )


def history_problem(horizon):
    model = SmoothModelWithHead(3, (3, 2), 2)
    return model, make_problem(model, horizon, seed=1)


@pytest.mark.parametrize('iterations', [1, 3])
@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('make', [compact_problem, history_problem])
def test_an_iteration_of_grasp_equals_a_hand_written_one(make, kind, iterations):
    """Line start, fixed noise, Adam; as in the paper, without a sync."""
    horizon, candidates = 5, 2
    model, problem = make(horizon)
    config = GraspConfig(
        goal_distance=kind,
        iterations=iterations,
        candidates=candidates,
        state_rate=0.1,
        action_rate=0.05,
        state_noise=0.02,
        state_noise_end=0.02,
        goal_weight=0.7,
        goal_weight_end=0.7,
        sync_every=0,
        path_weight=1.0,
        seed_greedy=False,
        proposals=0,
    )
    plan = GraspPlanner(model, config).plan(problem, generator=torch.Generator().manual_seed(9))

    generator = torch.Generator().manual_seed(9)
    distance = GoalDistance(model, kind)
    start, goal = problem.context[:, -1], problem.goal
    shape = (candidates, horizon - 1, *model.latent_shape)
    line = torch.stack([start + (goal - start) * t / horizon for t in range(1, horizon + 1)], 1)
    states = line.repeat_interleave(candidates, dim=0)
    actions = torch.zeros(candidates, horizon, 2).double()
    wide = PlanProblem(
        context=problem.context.repeat_interleave(candidates, dim=0),
        past_actions=problem.past_actions.repeat_interleave(candidates, dim=0),
        goal=problem.goal.repeat_interleave(candidates, dim=0),
        action_low=problem.action_low,
        action_high=problem.action_high,
        stop_action=problem.stop_action,
        horizon=horizon,
    )

    def noise():
        return 0.02 * torch.randn(shape, generator=generator, dtype=torch.float64)

    states[:, :-1] += noise()
    of_states, of_actions = HandWrittenAdam(0.1), HandWrittenAdam(0.05)
    for _ in range(iterations):
        _, state_gradient, action_gradient = plain(distance, wide, states, actions, 0.7, True)
        states = of_states.update(states, state_gradient)
        actions = of_actions.update(actions, action_gradient)
        states[:, :-1] += noise()
        actions = actions.clamp(problem.action_low, problem.action_high)
    rolled = rollout(model, wide.context, wide.past_actions, actions)
    along = distance(rolled, wide.goal[:, None])
    cost = along[:, -1] + along.mean(dim=1)
    best = int(cost.argmin())
    standing = distance(
        rollout(model, problem.context, problem.past_actions, 0 * actions[:1]), goal[:, None]
    )
    assert cost[best] < standing[0, -1] + standing.mean(), 'the start must not be the best'

    assert plan.iterations == iterations
    torch.testing.assert_close(plan.actions[0], actions[best], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(plan.states[0], states[best], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(plan.rollout[0], rolled[best], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(plan.terminal_cost[0], along[best, -1], rtol=1e-5, atol=1e-9)
