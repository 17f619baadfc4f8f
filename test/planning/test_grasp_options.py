"""What GRASP can do beyond the paper, each option against a known answer."""

from dataclasses import replace

import pytest
import torch

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from harness.toy_models import (
    LinearModel,
    LinearModelWithHead,
    SmoothModelWithHead,
    ToyModel,
    problem_for,
)

SMALL = GraspConfig(
    iterations=6, candidates=3, sync_every=3, state_noise=0.02, greedy_choices=8, proposals=4
)
COLD = replace(SMALL, seed_greedy=False, proposals=0, goal_distance='latent')


def solve(model, problem, config, *, init=None, observer=None):
    planner = GraspPlanner(model, config, observer)
    return planner.plan(problem, init, generator=torch.Generator().manual_seed(0))


class ScaledModel(ToyModel):
    """Another model with its latents in other units."""

    def __init__(self, model, unit):
        self.inner, self.unit = model, unit
        self.history, self.latent_shape = model.history, model.latent_shape
        self.action_dim = model.action_dim

    def predict(self, latents, actions):
        return self.unit * self.inner.predict(latents / self.unit, actions)

    def time_to_reach(self, latents, goal):
        return self.inner.time_to_reach(latents / self.unit, goal / self.unit)


OPTIONS = {
    'gauss-newton': {'action_step': 'gauss_newton'},
    'relaxed states': {'state_relaxation': 0.5},
    'both': {'action_step': 'gauss_newton', 'state_relaxation': 0.5},
    'sync by sweeps': {'sync_kind': 'sweeps'},
    'spread units': {'spread_units': True},
    'all': {
        'action_step': 'gauss_newton', 'state_relaxation': 0.5, 'sync_kind': 'sweeps',
        'iterations': 12, 'spread_units': True, 'max_rows_per_call': 7,
    },
}  # fmt: skip


@pytest.mark.parametrize('horizon', [1, 7])
@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('name', OPTIONS)
def test_a_plan_keeps_its_promises(name, kind, horizon):
    config = replace(SMALL, goal_distance=kind, **OPTIONS[name])
    for model in (LinearModelWithHead(), SmoothModelWithHead(3, (3, 2), 2)):
        problem = problem_for(model, horizon, batch=2)
        plan = solve(model, problem, config)
        for _ in range(2):
            assert (plan.actions >= problem.action_low - 1e-12).all()
            assert (plan.actions <= problem.action_high + 1e-12).all()
            rolled = rollout(model, problem.context, problem.past_actions, plan.actions)
            torch.testing.assert_close(plan.rollout, rolled)
            assert torch.isfinite(plan.states).all()
            plan = solve(model, problem, config, init=plan)


@pytest.mark.parametrize('name', ['gauss-newton', 'relaxed states', 'both', 'sync by sweeps'])
def test_it_reaches_the_goal_of_a_linear_model(name):
    dynamics = torch.tensor([[0.98, -0.15], [0.15, 0.98]]).double()
    control = torch.tensor([[0.3, 0.1], [0.0, 0.2]]).double()
    model = LinearModel(dynamics, control)
    problem = problem_for(model, 15, batch=3)
    config = replace(
        COLD, iterations=100, candidates=2, goal_weight=0.1, goal_weight_end=0.0, sync_every=25,
        sync_steps=30, sync_rate=0.02, path_weight=0.0, sync_sweeps=15, **OPTIONS[name],
    )  # fmt: skip
    plan = solve(model, problem, config)
    start = (problem.context[:, -1] - problem.goal).norm(dim=-1)
    end = (plan.rollout[:, -1] - problem.goal).norm(dim=-1)
    assert (end < 0.06 * start).all(), end / start


@pytest.mark.parametrize('model', [LinearModelWithHead(), SmoothModelWithHead(3, (3, 2), 2)])
def test_as_many_sweeps_as_steps_equal_the_serial_sync(model):
    problem = problem_for(model, 6, batch=2)
    serial = solve(model, problem, SMALL)
    swept = solve(model, problem, replace(SMALL, sync_kind='sweeps', sync_sweeps=6))
    torch.testing.assert_close(swept.actions, serial.actions)
    torch.testing.assert_close(swept.states, serial.states)


def test_syncs_by_sweeps_do_not_loop_over_time():
    """Only the initial guesses and the final score are rolled out."""
    model = LinearModel()
    config = replace(COLD, iterations=10, sync_every=1, sync_kind='sweeps', sync_sweeps=2)
    calls = []
    for horizon in (10, 50):
        model.calls = 0
        solve(model, problem_for(model, horizon), config)
        calls.append(model.calls - 2 * horizon)
    assert calls[0] == calls[1]


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('name', ['spread units', 'gauss-newton', 'both'])
def test_in_units_of_the_spread_the_units_of_latents_do_not_matter(kind, name):
    """Up to the small number in Adam's denominator."""
    inner = SmoothModelWithHead(2, (3, 2), 2)
    problem = problem_for(inner, 8, batch=2)
    config = replace(SMALL, goal_distance=kind, **OPTIONS[name])

    def difference(spread_units):
        first, second = (
            solve(
                ScaledModel(inner, unit),
                replace(problem, context=unit * problem.context, goal=unit * problem.goal),
                replace(config, spread_units=spread_units),
            )
            for unit in (1.0, 64.0)
        )
        of_states = (first.states - second.states / 64).abs().max()
        return max(float(of_states), float((first.actions - second.actions).abs().max()))

    assert difference(True) < 2e-3
    assert difference(False) > 0.01


def test_gauss_newton_has_no_state_gradients():
    with pytest.raises(ValueError, match='stop_gradient'):
        GraspPlanner(LinearModel(), GraspConfig(action_step='gauss_newton', stop_gradient=False))
