"""Planners that sample: rounds, chunks, costs, and the spectrum of their noise."""

import pytest
import torch

from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.sampling import coloured_noise, roll_out, sample_costs
from harness.baselines import check, cost_of, solve, turning_model
from harness.toy_models import LinearModel, LinearModelWithHead, SmoothModelWithHead, problem_for


@pytest.mark.parametrize('name', ['cem', 'icem', 'mppi'])
def test_costs_fall_with_the_rounds(name):
    model = turning_model()
    distance = GoalDistance(model, 'latent')
    problem = problem_for(model, 12, batch=3)
    costs = [
        cost_of(distance, problem, solve(name, model, problem, rounds=rounds)).mean()
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
    assert (cost_of(distance, problem, plan) < cost_of(distance, problem, without)).all()


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
