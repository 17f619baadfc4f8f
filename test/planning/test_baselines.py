"""Every planner by name: what all promise."""

from dataclasses import fields, replace

import pytest
import torch

from grasp_ros.control.factory import build_planner
from grasp_ros.models.protocol import rollout
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import node_parameters
from grasp_ros.planning.initial_guess import shift
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.options import option_text
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import PLANNERS, build
from harness.baselines import (
    GUESSING,
    LIGHT,
    RANDOM,
    SEARCHING,
    STEPS,
    check,
    cost_of,
    solve,
    turning_model,
)
from harness.toy_models import (
    LinearModel,
    LinearModelWithHead,
    SmoothModelWithHead,
    one_of,
    problem_for,
)


def test_the_table_is_complete():
    assert list(PLANNERS) == list(LIGHT)
    for entry in PLANNERS.values():
        for field in fields(entry.config):
            text = option_text(field.metadata)
            assert text.description
            assert (text.low is None) == (text.high is None)
            if text.low is not None:
                assert text.low <= field.default <= text.high
            elif not text.choices:
                assert isinstance(field.default, bool)
            assert not text.choices or field.default in text.choices


@pytest.mark.parametrize('name', LIGHT)
def test_planners_are_built_by_name(name):
    planner = build(name, LinearModel())
    assert isinstance(planner, Planner)
    with pytest.raises(TypeError, match='no_such_option'):
        build(name, LinearModel(), {'no_such_option': 1})
    with pytest.raises(ValueError, match='time-to-reach head'):
        build(name, LinearModel(), {'goal_distance': 'time_to_reach'})


def test_unknown_planners_are_refused():
    with pytest.raises(ValueError, match='latco'):
        build('lacto', LinearModel())


@pytest.mark.parametrize('name', LIGHT)
def test_it_reaches_the_goal_of_a_linear_model(name):
    model = turning_model()
    problem = problem_for(model, 15, batch=3)
    plan = solve(name, model, problem)
    check(plan, model, problem)
    start = (problem.context[:, -1] - problem.goal).norm(dim=-1)
    end = (plan.rollout[:, -1] - problem.goal).norm(dim=-1)
    tolerance = 0.5 if name == 'random_shooting' else 0.15
    assert (end < tolerance * start).all(), end / start


@pytest.mark.parametrize('name', LIGHT)
@pytest.mark.parametrize('horizon', [1, 2, 9])
def test_history_tokens_and_a_learned_distance(name, horizon):
    """Several problems, three frames of history, two tokens, bounds that are not symmetric."""
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, horizon, batch=2)
    high = problem.action_high * torch.tensor([0.3, 2.0])
    problem = replace(problem, action_high=high)
    plan = solve(name, model, problem)
    check(plan, model, problem)
    distance = GoalDistance(model, 'time_to_reach')
    standing = torch.zeros_like(plan.actions)
    still = rollout(model, problem.context, problem.past_actions, standing)
    if name != 'greedy':  # what is best for one step may not be for two
        assert (plan.terminal_cost < distance(still[:, -1], problem.goal)).all()
    check(solve(name, model, problem, init=plan, seed=3), model, problem)


@pytest.mark.parametrize('name', SEARCHING)
def test_bounds_bind_where_the_goal_is_far(name):
    model = LinearModel()
    problem = problem_for(model, 8, bound=0.2)
    far = torch.tensor([[1.6, -1.6]]).double()
    problem = replace(problem, goal=problem.context[:, -1] + far)
    # The greedy rollout would know the answer.
    plan = solve(name, model, problem, seed_greedy=False)
    check(plan, model, problem)
    expected = 0.2 * torch.sign(far)[:, None].expand(-1, 8, -1)
    assert (plan.actions - expected).abs().mean() < 0.04


@pytest.mark.parametrize('name', LIGHT)
def test_randomness_derives_from_the_generator_alone(name):
    model = SmoothModelWithHead(1, (4,), 2)
    problem = problem_for(model, 10, batch=2)
    torch.manual_seed(1)
    first = solve(name, model, problem, seed=4)
    torch.manual_seed(2)
    again = solve(name, model, problem, seed=4)
    for field in ('actions', 'states', 'rollout', 'terminal_cost', 'defect'):
        assert torch.equal(getattr(first, field), getattr(again, field))
    other = solve(name, model, problem, seed=5)
    assert torch.equal(first.actions, other.actions) == (name not in RANDOM)


@pytest.mark.parametrize('name', LIGHT)
def test_planners_hold_no_results(name):
    model = SmoothModelWithHead(1, (4,), 2)
    planner = build(name, model, LIGHT[name])
    planner.plan(problem_for(model, 6, seed=8), generator=torch.Generator().manual_seed(1))
    problem = problem_for(model, 6)
    again = planner.plan(problem, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.actions, solve(name, model, problem, seed=2).actions)


@pytest.mark.parametrize('name', ['greedy', 'latco', 'gradient', 'grasp'])
def test_several_problems_at_once_equal_each_alone(name):
    """Those that can be run without randomness: nothing may leak between problems."""
    still = {
        'grasp': {'state_noise': 0.0, 'proposals': 0},
        'gradient': {'starts': 1},
    }.get(name, {})
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, 7, batch=3)
    together = solve(name, model, problem, **still)
    for index in range(3):
        alone = solve(name, model, one_of(problem, index), **still)
        torch.testing.assert_close(together.actions[index], alone.actions[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', SEARCHING)
def test_a_tiny_deadline_still_gives_a_plan(name):
    model = SmoothModelWithHead(1, (4,), 2)
    problem = problem_for(model, 10)
    steps = STEPS.get(name, 'iterations')
    plan = solve(name, model, problem, deadline_s=1e-6, **{steps: 100_000})
    check(plan, model, problem)
    assert plan.iterations == 0


@pytest.mark.parametrize('name', SEARCHING)
def test_a_deadline_ends_the_search_in_time(name, monkeypatch):
    """By a clock of its own: a prediction takes a millisecond, all else no time."""
    model = SmoothModelWithHead(1, (4,), 2)
    problem = problem_for(model, 8)
    monkeypatch.setattr('time.perf_counter', lambda: 1e-3 * model.calls)
    steps = STEPS.get(name, 'iterations')
    planner = build(name, model, {**LIGHT[name], steps: 100_000})
    planner.prepare(problem)
    model.calls = 0
    plan = planner.plan(problem, generator=torch.Generator().manual_seed(0), deadline_s=0.3)
    assert 0 < plan.iterations < 100_000
    assert plan.solve_time_s == pytest.approx(1e-3 * model.calls)
    assert 0.2 < plan.solve_time_s <= 0.3


@pytest.mark.parametrize('name', GUESSING)
def test_a_warm_start_is_never_lost(name):
    model = LinearModelWithHead()
    problem = problem_for(model, 10, batch=2)
    good = solve('grasp', model, problem, iterations=60)
    cheap = {STEPS.get(name, 'iterations'): 1} if name in SEARCHING else {'proposals': 1}
    warm = solve(name, model, problem, init=good, **cheap)
    check(warm, model, problem)
    distance = GoalDistance(model, 'time_to_reach')
    assert (cost_of(distance, problem, warm) <= cost_of(distance, problem, good) + 1e-9).all()
    moved = solve(name, model, problem, init=shift(good, 3, problem.stop_action), **cheap)
    check(moved, model, problem)


@pytest.mark.parametrize('name', SEARCHING)
@pytest.mark.parametrize(
    'guesses',
    [
        {'seed_greedy': True, 'proposals': 4},
        {'seed_greedy': True, 'proposals': 0},
        {'seed_greedy': False, 'proposals': 4},
        {'seed_warm_start': False, 'seed_greedy': False, 'proposals': 0},
    ],
)
def test_all_take_the_same_guesses_and_never_lose_them(name, guesses):
    model = SmoothModelWithHead(1, (4,), 2)
    distance = GoalDistance(model, 'time_to_reach')
    problem = problem_for(model, 8, batch=2)
    for init in (None, solve('random_shooting', model, problem)):
        steps = STEPS.get(name, 'iterations')
        only = solve(name, model, problem, init=init, **guesses, **{steps: 0})
        best = solve('random_shooting', model, problem, init=init, **guesses)
        assert torch.equal(only.actions, best.actions)
        plan = solve(name, model, problem, init=init, **guesses, **{steps: 2})
        check(plan, model, problem)
        assert (cost_of(distance, problem, plan) <= cost_of(distance, problem, best) + 1e-9).all()


@pytest.mark.parametrize('name', SEARCHING)
def test_the_path_counts_where_it_is_asked_to(name):
    model = turning_model()
    distance = GoalDistance(model, 'latent')
    problem = problem_for(model, 12)
    direct = solve(name, model, problem, path_weight=5.0, seed_greedy=False)
    patient = solve(name, model, problem, path_weight=0.0, seed_greedy=False)
    goal = problem.goal[:, None]
    assert distance(direct.rollout, goal).mean() < distance(patient.rollout, goal).mean()


@pytest.mark.parametrize('name', GUESSING)
def test_actions_stay_finite_where_the_model_breaks(name):
    model = LinearModel()
    problem = problem_for(model, 6)
    good = solve(name, model, problem)
    model.broken = True
    for init in (None, good):
        plan = solve(name, model, problem, init=init)
        assert plan.actions.shape == (1, 6, 2)
        assert not torch.isfinite(plan.terminal_cost).any()
        if name != 'grasp':
            assert torch.isfinite(plan.actions).all()


def test_the_node_builds_them_all_from_its_parameters():
    for name, entry in PLANNERS.items():
        planner = build_planner(node_parameters({'planner.name': name}), LinearModelWithHead())
        assert isinstance(planner, entry.planner)
        assert planner.config == entry.config()
        learned = {'planner.name': name, f'{name}.goal_distance': 'time_to_reach'}
        with pytest.raises(ParameterError, match=f"'{name}.goal_distance'"):
            build_planner(node_parameters(learned), LinearModel())
    latco = node_parameters({'planner.name': 'latco'})
    with pytest.raises(ParameterError, match=r"'planner\.name'.*LatCo"):
        build_planner(latco, SmoothModelWithHead(1, (196, 8), 2))
