"""Every planner by name: what all promise, and what is special to each."""

import time
from dataclasses import fields, replace

import pytest
import torch
from toy_models import LinearModel, LinearModelWithHead, SmoothModelWithHead, one_of, problem_for

from grasp_ros.core.objective import GoalDistance, rollout_cost
from grasp_ros.core.planner import Planner
from grasp_ros.core.warm_start import shift
from grasp_ros.core.world_model import rollout
from grasp_ros.planners.block_tridiagonal import solve_banded
from grasp_ros.planners.latco import Trajectory, linearise
from grasp_ros.planners.options import option_text
from grasp_ros.planners.registry import PLANNERS, build
from grasp_ros.planners.sampling import coloured_noise, roll_out, sample_costs

# Cheap settings that still solve the toys.
LIGHT = {
    'grasp': {'iterations': 24, 'sync_steps': 5},
    'greedy': {},
    'cem': {'samples': 128, 'elites': 16, 'rounds': 15},
    'icem': {'samples': 128, 'rounds': 15},
    'mppi': {'samples': 128, 'rounds': 20, 'initial_deviation': 0.3},
    'gradient': {'iterations': 60, 'starts': 2},
    'latco': {'iterations': 40},
    'random_shooting': {'proposals': 512},
}
SEARCHING = [name for name in LIGHT if name not in ('greedy', 'random_shooting')]
SEEDED = [name for name in LIGHT if name != 'greedy']
# One start of GD is not random, and it may be the best.
RANDOM = [name for name in SEEDED if name not in ('latco', 'gradient')]
STEPS = {'cem': 'rounds', 'icem': 'rounds', 'mppi': 'rounds'}


def solve(name, model, problem, *, seed=0, init=None, deadline_s=None, **options):
    planner = build(name, model, {**LIGHT[name], **options})
    generator = torch.Generator().manual_seed(seed)
    return planner.plan(problem, init, generator=generator, deadline_s=deadline_s)


def check(plan, model, problem):
    """What every plan promises."""
    batch, horizon = problem.batch, problem.horizon
    assert plan.actions.shape == (batch, horizon, model.action_dim)
    assert plan.states.shape == plan.rollout.shape == (batch, horizon, *model.latent_shape)
    assert plan.terminal_cost.shape == plan.defect.shape == (batch,)
    for name in ('actions', 'states', 'rollout', 'terminal_cost', 'defect'):
        value = getattr(plan, name)
        assert value.dtype == model.dtype
        assert torch.isfinite(value).all()
        assert not value.requires_grad
    assert (plan.actions >= problem.action_low - 1e-12).all()
    assert (plan.actions <= problem.action_high + 1e-12).all()
    rolled = rollout(model, problem.context, problem.past_actions, plan.actions)
    torch.testing.assert_close(plan.rollout, rolled)
    assert plan.solve_time_s > 0


def turning_model():
    """A rotation with an offset view of the actions: the answer is not a straight line."""
    dynamics = torch.tensor([[0.98, -0.15], [0.15, 0.98]]).double()
    return LinearModel(dynamics, torch.tensor([[0.3, 0.1], [0.0, 0.2]]).double())


def judged(distance, problem, plan, path_weight=1.0):
    return rollout_cost(distance(plan.rollout, problem.goal[:, None]), path_weight)


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
    # The greedy seed would know the answer.
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
def test_a_deadline_ends_the_search_in_time(name):
    model = SmoothModelWithHead(1, (4,), 2)
    problem = problem_for(model, 8)
    steps = STEPS.get(name, 'iterations')
    began = time.perf_counter()
    plan = solve(name, model, problem, deadline_s=0.3, **{steps: 100_000})
    assert time.perf_counter() - began < 1.5
    check(plan, model, problem)
    assert 0 < plan.iterations < 100_000


@pytest.mark.parametrize('name', SEEDED)
def test_a_warm_start_is_never_lost(name):
    model = LinearModelWithHead()
    problem = problem_for(model, 10, batch=2)
    good = solve('grasp', model, problem, iterations=60)
    cheap = {STEPS.get(name, 'iterations'): 1} if name in SEARCHING else {'proposals': 1}
    warm = solve(name, model, problem, init=good, **cheap)
    check(warm, model, problem)
    distance = GoalDistance(model, 'time_to_reach')
    assert (judged(distance, problem, warm) <= judged(distance, problem, good) + 1e-9).all()
    moved = solve(name, model, problem, init=shift(good, 3, problem.stop_action), **cheap)
    check(moved, model, problem)


@pytest.mark.parametrize('name', SEARCHING)
@pytest.mark.parametrize(
    'seeds',
    [
        {'seed_greedy': True, 'proposals': 4},
        {'seed_greedy': True, 'proposals': 0},
        {'seed_greedy': False, 'proposals': 4},
        {'seed_warm_start': False, 'seed_greedy': False, 'proposals': 0},
    ],
)
def test_all_take_the_same_seeds_and_never_lose_them(name, seeds):
    model = SmoothModelWithHead(1, (4,), 2)
    distance = GoalDistance(model, 'time_to_reach')
    problem = problem_for(model, 8, batch=2)
    for init in (None, solve('random_shooting', model, problem)):
        steps = STEPS.get(name, 'iterations')
        only = solve(name, model, problem, init=init, **seeds, **{steps: 0})
        best = solve('random_shooting', model, problem, init=init, **seeds)
        assert torch.equal(only.actions, best.actions)
        plan = solve(name, model, problem, init=init, **seeds, **{steps: 2})
        check(plan, model, problem)
        assert (judged(distance, problem, plan) <= judged(distance, problem, best) + 1e-9).all()


@pytest.mark.parametrize('name', SEARCHING)
def test_the_path_counts_where_it_is_asked_to(name):
    model = turning_model()
    distance = GoalDistance(model, 'latent')
    problem = problem_for(model, 12)
    direct = solve(name, model, problem, path_weight=5.0, seed_greedy=False)
    patient = solve(name, model, problem, path_weight=0.0, seed_greedy=False)
    goal = problem.goal[:, None]
    assert distance(direct.rollout, goal).mean() < distance(patient.rollout, goal).mean()


@pytest.mark.parametrize('name', SEEDED)
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


@pytest.mark.parametrize('name', ['cem', 'icem', 'mppi'])
def test_costs_fall_with_the_rounds(name):
    model = turning_model()
    distance = GoalDistance(model, 'latent')
    problem = problem_for(model, 12, batch=3)
    costs = [
        judged(distance, problem, solve(name, model, problem, rounds=rounds)).mean()
        for rounds in (0, 1, 3, 10)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]


@pytest.mark.parametrize('name', ['cem', 'icem', 'mppi'])
def test_chunks_change_nothing(name):
    model = SmoothModelWithHead(3, (3, 2), 2)
    problem = problem_for(model, 6, batch=2)
    whole = solve(name, model, problem, rounds=3)
    rows = model.rows
    model.rows = 0
    chunked = solve(name, model, problem, rounds=3, max_rows_per_call=20)
    torch.testing.assert_close(whole.actions, chunked.actions)
    assert model.rows <= 20 < rows


def test_the_control_cost_of_mppi_holds_actions_back():
    model = LinearModel()
    problem = problem_for(model, 8)
    free = solve('mppi', model, problem, temperature=1.0)
    held = solve('mppi', model, problem, temperature=1.0, control_weight=1.0)
    check(held, model, problem)
    assert not torch.equal(held.actions, free.actions)


@pytest.mark.parametrize('history', [1, 3])
def test_costs_of_samples_are_those_of_their_rollouts(history):
    model = SmoothModelWithHead(history, (3, 2), 2)
    problem = problem_for(model, 7, batch=2)
    actions = torch.randn(2, 5, 7, 2, dtype=model.dtype)
    for kind in ('latent', 'time_to_reach'):
        distance = GoalDistance(model, kind)
        expected = roll_out(distance, problem, actions, 0.7).cost
        torch.testing.assert_close(sample_costs(distance, problem, actions, 0.7), expected)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
def test_grasp_syncs_with_cross_entropy_rounds(kind):
    model = LinearModelWithHead()
    problem = problem_for(model, 10, batch=2)
    bare = {
        'goal_distance': kind, 'sync_kind': 'cem', 'candidates': 1, 'seed_greedy': False,
        'proposals': 0, 'iterations': 20, 'sync_every': 10,
    }  # fmt: skip
    plan = solve('grasp', model, problem, **bare)
    check(plan, model, problem)
    distance = GoalDistance(model, kind)
    without = solve('grasp', model, problem, **{**bare, 'sync_every': 0})
    assert (judged(distance, problem, plan) < judged(distance, problem, without)).all()


@pytest.mark.parametrize('beta', [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize('horizon', [64, 63])
def test_noise_has_the_asked_spectrum(beta, horizon):
    like = torch.zeros(2, horizon, 3, dtype=torch.float64)
    noise = coloured_noise(like, 4000, beta, torch.Generator().manual_seed(0))
    assert noise.shape == (2, 4000, horizon, 3)
    assert noise.mean().abs() < 0.02
    torch.testing.assert_close(
        noise.var(dim=(0, 1, 3)), torch.ones(horizon).double(), atol=0.06, rtol=0
    )
    power = torch.fft.rfft(noise, dim=2).abs().square().mean(dim=(0, 1, 3))
    inner = torch.arange(1, 31)
    slope = torch.log(power[inner]).diff().sum() / torch.log(inner.double()).diff().sum()
    assert abs(slope + beta) < 0.1
    torch.testing.assert_close(power[0], power[1], rtol=0.1, atol=0)


@pytest.mark.parametrize('horizon', [1, 2, 3])
def test_noise_of_short_horizons(horizon):
    like = torch.zeros(1, horizon, 1, dtype=torch.float64)
    noise = coloured_noise(like, 20_000, 2.0, torch.Generator().manual_seed(0))
    assert (noise.var(dim=1) - 1).abs().max() < 0.05


def test_samples_are_independent_across_problems_actions_and_samples():
    like = torch.zeros(2, 32, 2, dtype=torch.float64)
    noise = coloured_noise(like, 2000, 1.0, torch.Generator().manual_seed(0))
    columns = torch.stack([noise[0, :, 5, 0], noise[1, :, 5, 0], noise[0, :, 5, 1]])
    correlation = torch.corrcoef(columns) - torch.eye(3)
    assert correlation.abs().max() < 0.1


@pytest.mark.parametrize(('count', 'width'), [(7, 1), (1, 1), (7, 3), (2, 3), (6, 2), (9, 2)])
def test_banded_systems_are_solved(count, width):
    size, rows = 3, 2
    generator = torch.Generator().manual_seed(0)
    dense = torch.zeros(rows, count * size, count * size, dtype=torch.float64)
    band = torch.zeros(rows, count, width + 1, size, size, dtype=torch.float64)
    for row in range(count):
        for offset in range(min(width + 1, count - row)):
            block = torch.randn(rows, size, size, generator=generator, dtype=torch.float64)
            if offset == 0:
                block = block @ block.mT + 20 * torch.eye(size)
            band[:, row, offset] = block
            down, across = row * size, (row + offset) * size
            dense[:, down : down + size, across : across + size] = block
            dense[:, across : across + size, down : down + size] = block.mT
    right = torch.randn(rows, count, size, generator=generator, dtype=torch.float64)
    expected = torch.linalg.solve(dense, right.flatten(1)).unflatten(1, (count, size))
    torch.testing.assert_close(solve_banded(band, right), expected)


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize(('history', 'shape'), [(1, (4,)), (3, (2, 2)), (2, (3,))])
def test_latco_linearises_its_residuals(kind, history, shape):
    """Gradient and matrix against dense Jacobians of the residuals by autograd."""
    model = SmoothModelWithHead(history, shape, 2)
    distance = GoalDistance(model, kind)
    horizon = 5
    problem = problem_for(model, horizon)
    generator = torch.Generator().manual_seed(2)
    states = torch.randn((1, horizon, *shape), generator=generator, dtype=model.dtype)
    actions = 1.5 * torch.randn((1, horizon, 2), generator=generator, dtype=model.dtype)
    dynamics = torch.rand((1, horizon), generator=generator, dtype=model.dtype) + 0.5
    bounds = torch.rand((1, horizon), generator=generator, dtype=model.dtype) + 0.5
    state = Trajectory(states, actions, dynamics, bounds, torch.ones(1, dtype=model.dtype))
    weight = torch.rand(horizon, generator=generator, dtype=model.dtype)
    elements = states[0, 0].numel()
    block = elements + 2

    def residuals(flat):
        unknown = flat.reshape(horizon + 1, block)
        free = unknown[1:, :elements].reshape(horizon, *shape)
        taken = unknown[:-1, elements:]
        frames = torch.cat([problem.context[0], free])
        past = torch.cat([problem.past_actions[0], taken])
        parts = []
        for step in range(horizon):
            window = slice(step, step + history)
            predicted = model.predict(frames[window][None], past[window][None])[0]
            scale = (dynamics[0, step] / elements).sqrt()
            parts.append(scale * (free[step] - predicted).flatten())
            if kind == 'latent':
                gap = (free[step] - problem.goal[0]).flatten()
                parts.append((weight[step] / elements).sqrt() * gap)
            else:
                parts.append((weight[step] * distance(free[step], problem.goal[0])).sqrt()[None])
            parts.append(bounds[0, step].sqrt() * (taken[step] - taken[step].clamp(-1, 1)))
        return torch.cat(parts)

    start = torch.zeros(horizon + 1, block, dtype=model.dtype)
    start[1:, :elements], start[:-1, elements:] = states[0].flatten(1), actions[0]
    jacobian = torch.autograd.functional.jacobian(residuals, start.flatten())
    fixed = torch.zeros(horizon + 1, block, dtype=torch.bool)
    fixed[0, :elements], fixed[-1, elements:] = True, True
    jacobian[:, fixed.flatten()] = 0.0
    expected = jacobian.mT @ jacobian + torch.diag(fixed.flatten().double())
    slope = (jacobian.mT @ residuals(start.flatten())).reshape(horizon + 1, block)

    _, _, band, gradient = linearise(distance, problem, state, weight)
    torch.testing.assert_close(gradient[0], slope)
    blocks = expected.reshape(horizon + 1, block, horizon + 1, block).transpose(1, 2)
    for row in range(horizon + 1):
        for offset in range(min(history, horizon - row) + 1):
            torch.testing.assert_close(band[0, row, offset], blocks[row, row + offset])


@pytest.mark.parametrize('path_weight', [0.0, 1.0])
def test_latco_drives_the_defect_to_zero(path_weight):
    """On linear dynamics, from a straight line that the model cannot follow."""
    model = turning_model()
    problem = problem_for(model, 20, batch=3)
    plan = solve('latco', model, problem, path_weight=path_weight, tolerance=1e-8, iterations=80)
    check(plan, model, problem)
    assert plan.defect.max() < 2e-4
    torch.testing.assert_close(plan.states, plan.rollout, atol=2e-3, rtol=0)


def test_latco_refuses_latents_that_are_too_large():
    with pytest.raises(ValueError, match='LatCo'):
        build('latco', SmoothModelWithHead(1, (196, 8), 2))


def test_the_node_builds_them_all_from_its_parameters():
    parameters = pytest.importorskip('grasp_ros.nodes.parameters')
    assembly = pytest.importorskip('grasp_ros.assembly')
    table = [*parameters.PARAMETERS, *parameters.RIVAL_PARAMETERS]
    values = {row.name: row.default for row in table}
    assert len(values) == len(table)
    for name, entry in PLANNERS.items():
        chosen = {**values, 'planner.name': name}
        planner = assembly.build_planner(chosen, LinearModelWithHead())
        assert isinstance(planner, entry.planner)
        assert planner.config == entry.config()
        with pytest.raises(parameters.ParameterError, match=f"'{name}.goal_distance'"):
            assembly.build_planner(
                {**chosen, f'{name}.goal_distance': 'time_to_reach'}, LinearModel()
            )
    chosen = {**values, 'planner.name': 'latco'}
    with pytest.raises(parameters.ParameterError, match=r"'planner\.name'.*LatCo"):
        assembly.build_planner(chosen, SmoothModelWithHead(1, (196, 8), 2))
