"""GRASP on models with known answers, and its promises whatever the model."""

from dataclasses import replace

import pytest
import torch

from grasp_ros.models.protocol import WorldModel, rollout
from grasp_ros.planning.baselines.greedy import GreedyConfig, GreedyPlanner
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.initial_guess import shift
from grasp_ros.planning.objective import goal_distance, rollout_cost
from grasp_ros.planning.protocol import Planner
from harness.baselines import check
from harness.toy_models import (
    LinearModel,
    LinearModelWithHead,
    SmoothModel,
    SmoothModelWithHead,
    one_of,
    problem_for,
)

PAPER = GraspConfig(
    goal_distance='latent',
    iterations=100,
    candidates=2,
    state_rate=0.1,
    action_rate=0.02,
    state_noise=0.02,
    goal_weight=0.1,
    goal_weight_end=0.0,
    sync_every=25,
    sync_steps=30,
    sync_rate=0.02,
    path_weight=0.0,
    seed_greedy=False,
    proposals=0,
)
SMALL = GraspConfig(
    iterations=6, candidates=3, sync_every=3, state_noise=0.02, greedy_choices=8, proposals=4
)


def solve(model, problem, config, *, seed=0, init=None, deadline_s=None):
    planner = GraspPlanner(model, config)
    generator = torch.Generator().manual_seed(seed)
    return planner.plan(problem, init, generator=generator, deadline_s=deadline_s)


def test_the_toys_and_planners_keep_the_protocols():
    assert isinstance(LinearModel(), WorldModel)
    assert isinstance(SmoothModel(3, (3, 2), 2), WorldModel)
    assert isinstance(GraspPlanner(LinearModel(), SMALL), Planner)
    assert isinstance(GreedyPlanner(LinearModel(), GreedyConfig()), Planner)


@pytest.mark.parametrize(
    ('config', 'tolerance'), [(PAPER, 0.06), (GraspConfig(goal_distance='latent'), 0.15)]
)
def test_it_reaches_the_goal_of_a_linear_model(config, tolerance):
    """A rotation with an offset view of the actions: the answer is not a straight line."""
    dynamics = torch.tensor([[0.98, -0.15], [0.15, 0.98]]).double()
    control = torch.tensor([[0.3, 0.1], [0.0, 0.2]]).double()
    model = LinearModel(dynamics, control)
    problem = problem_for(model, 15, batch=3)
    plan = solve(model, problem, config)
    check(plan, model, problem)
    start = (problem.context[:, -1] - problem.goal).norm(dim=-1)
    end = (plan.rollout[:, -1] - problem.goal).norm(dim=-1)
    assert (end < tolerance * start).all(), end / start


def test_the_known_answer_where_the_bounds_bind():
    """A goal as far as full speed goes: every action must be at its bound."""
    model = LinearModel()
    problem = problem_for(model, 10, bound=0.2)
    far = torch.tensor([[2.0, -2.0]]).double()
    problem = replace(problem, goal=problem.context[:, -1] + far)
    plan = solve(model, problem, replace(PAPER, goal_weight=1.0))
    check(plan, model, problem)
    expected = 0.2 * torch.sign(far)[:, None].expand(-1, 10, -1)
    torch.testing.assert_close(plan.actions, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize('model', [LinearModelWithHead(), SmoothModelWithHead(3, (3, 2), 2)])
def test_a_learned_distance_is_used_where_there_is_one(model):
    problem = problem_for(model, 12, batch=2)
    plan = solve(model, problem, SMALL)
    check(plan, model, problem)
    distance = goal_distance(model, 'time_to_reach')
    torch.testing.assert_close(plan.terminal_cost, distance(plan.rollout[:, -1], problem.goal))
    stop = torch.zeros_like(plan.actions)
    standing = rollout(model, problem.context, problem.past_actions, stop)
    assert (plan.terminal_cost < distance(standing[:, -1], problem.goal)).all()


def test_same_seed_same_plan():
    model = SmoothModel(3, (4,), 2)
    problem = problem_for(model, 12, batch=2)
    torch.manual_seed(1)
    first = solve(model, problem, SMALL, seed=4)
    torch.manual_seed(2)
    again, other = solve(model, problem, SMALL, seed=4), solve(model, problem, SMALL, seed=5)
    for name in ('actions', 'states', 'rollout', 'terminal_cost', 'defect'):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.states, other.states)


def test_a_planner_holds_no_results():
    """A used planner plans what a fresh one does."""
    model = SmoothModel(3, (4,), 2)
    used = GraspPlanner(model, SMALL)
    used.plan(problem_for(model, 12, seed=8), generator=torch.Generator().manual_seed(1))
    problem = problem_for(model, 12)
    again = used.plan(problem, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.actions, solve(model, problem, SMALL, seed=2).actions)


def test_several_problems_at_once_equal_each_alone():
    """Without randomness they must be the same; nothing may leak between problems."""
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, 9, batch=4)
    config = replace(SMALL, state_noise=0.0, proposals=0, iterations=10, sync_every=4)
    together = solve(model, problem, config)
    check(together, model, problem)
    for index in range(4):
        alone = solve(model, one_of(problem, index), config)
        torch.testing.assert_close(together.actions[index], alone.actions[0], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(together.defect[index], alone.defect[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('model', [LinearModelWithHead(), SmoothModel(3, (3, 2), 2)])
def test_a_warm_start_is_a_candidate(model):
    problem = problem_for(model, 10, batch=2)
    good = solve(model, problem, replace(SMALL, iterations=60, sync_every=10))
    cheap = replace(SMALL, iterations=1, sync_every=0, greedy_choices=2, proposals=1)
    warm = solve(model, problem, cheap, init=good)
    check(warm, model, problem)
    distance = goal_distance(model)
    goal = problem.goal[:, None]
    before = rollout_cost(distance(good.rollout, goal), SMALL.path_weight)
    after = rollout_cost(distance(warm.rollout, goal), SMALL.path_weight)
    assert (after <= before + 1e-9).all()
    moved = solve(model, problem, cheap, init=shift(good, 3, problem.stop_action))
    check(moved, model, problem)


def test_the_virtual_states_of_a_warm_start_are_taken_over():
    model = LinearModel()
    problem = problem_for(model, 8)
    still = replace(SMALL, state_noise=0.0, iterations=1, state_rate=0.0, action_rate=0.0,
                    sync_every=0, seed_greedy=False, proposals=0, candidates=1)  # fmt: skip
    init = solve(model, problem, SMALL)
    init = replace(init, states=init.states + 7.0)
    plan = solve(model, problem, still, init=init)
    assert torch.equal(plan.actions, init.actions)
    torch.testing.assert_close(plan.states[:, :-1], init.states[:, :-1])
    assert plan.defect[0] > 1.0


def test_a_warm_start_can_be_switched_off():
    model = LinearModel()
    problem = problem_for(model, 8)
    init = solve(model, problem, SMALL, seed=3)
    off = replace(SMALL, seed_warm_start=False)
    without = solve(model, problem, off)
    assert torch.equal(solve(model, problem, off, init=init).actions, without.actions)


ABLATIONS = {
    'no stop-gradient': {'stop_gradient': False},
    'no sync': {'sync_every': 0},
    'no noise': {'state_noise': 0.0},
    'decaying noise': {'state_noise': 0.5, 'state_noise_end': 0.0},
    'no goal term': {'goal_weight': 0.0, 'goal_weight_end': 0.0},
    'no guesses': {'seed_greedy': False, 'proposals': 0},
    'cold': {'seed_greedy': False, 'proposals': 0, 'seed_warm_start': False},
    'greedy only': {'proposals': 0},
    'proposals only': {'seed_greedy': False},
    'terminal cost only': {'path_weight': 0.0},
    'guesses only': {'iterations': 0},
    'one candidate': {'candidates': 1},
    'more candidates than guesses': {'candidates': 9},
    'chunks': {'max_rows_per_call': 5},
    'sync each iteration': {'sync_every': 1},
    'sync without steps': {'sync_steps': 0},
    'latent distance': {'goal_distance': 'latent'},
}


@pytest.mark.parametrize('horizon', [1, 7])
@pytest.mark.parametrize('name', ABLATIONS)
def test_every_switch_runs(name, horizon):
    config = replace(SMALL, **ABLATIONS[name])
    for model in (LinearModelWithHead(), SmoothModelWithHead(3, (3, 2), 2)):
        problem = problem_for(model, horizon, batch=2)
        first = solve(model, problem, config)
        check(first, model, problem)
        check(solve(model, problem, config, init=first), model, problem)


def test_chunks_change_nothing():
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, 9)
    whole = solve(model, problem, SMALL)
    chunked = solve(model, problem, replace(SMALL, max_rows_per_call=4))
    torch.testing.assert_close(whole.actions, chunked.actions)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('seed', range(5))
def test_a_plan_is_never_worse_than_its_best_guess(kind, seed):
    """Even with rates at which the optimiser only does harm."""
    model = SmoothModelWithHead(3, (3, 2), 2)
    distance = goal_distance(model, kind)
    problem = problem_for(model, 10, batch=3, seed=seed)
    config = replace(SMALL, goal_distance=kind, action_rate=3.0, state_rate=5.0, state_noise=3.0)
    harmed = solve(model, problem, config, seed=seed)
    guesses = solve(model, problem, replace(config, iterations=0), seed=seed)

    def cost(plan):
        return rollout_cost(distance(plan.rollout, problem.goal[:, None]), config.path_weight)

    assert (cost(harmed) <= cost(guesses)).all()


def test_no_distance_without_a_head():
    with pytest.raises(ValueError, match='time-to-reach head'):
        GraspPlanner(LinearModel(), GraspConfig(goal_distance='time_to_reach'))


@pytest.mark.parametrize('config', [SMALL, replace(PAPER, iterations=5)])
def test_nan_from_the_model_is_left_to_the_controller(config):
    model = LinearModel()
    problem = problem_for(model, 6)
    good = solve(model, problem, config)
    model.broken = True
    for init in (None, good):
        plan = solve(model, problem, config, init=init)
        assert plan.actions.shape == (1, 6, 2)
        assert not torch.isfinite(plan.terminal_cost).any()


def test_greed_reaches_the_goal_of_an_easy_model():
    model = LinearModel()
    problem = problem_for(model, 30, batch=2, bound=0.3)
    planner = GreedyPlanner(model, GreedyConfig())
    plan = planner.plan(problem, generator=torch.Generator())
    check(plan, model, problem)
    assert plan.defect.abs().max() < 1e-12
    assert (plan.rollout[:, -1] - problem.goal).norm(dim=-1).max() < 0.1
