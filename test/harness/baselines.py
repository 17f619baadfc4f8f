"""Planners by name with cheap settings, and what every plan promises."""

import torch

from grasp_ros.models.protocol import rollout
from grasp_ros.planning.objective import rollout_cost
from grasp_ros.planning.registry import build
from harness.toy_models import LinearModel

# Cheap settings that still solve the toys.
LIGHT = {
    'grasp': {'iterations': 24, 'sync_every': 6, 'sync_steps': 5, 'state_noise': 0.02},
    'greedy': {},
    'cem': {'samples': 128, 'elites': 16, 'rounds': 15},
    'icem': {'samples': 128, 'rounds': 15},
    'mppi': {'samples': 128, 'rounds': 20, 'initial_deviation': 0.3},
    'gradient': {'iterations': 60, 'starts': 2},
    'latco': {'iterations': 40},
    'random_shooting': {'proposals': 512},
}
SEARCHING = [name for name in LIGHT if name not in ('greedy', 'random_shooting')]
GUESSING = [name for name in LIGHT if name != 'greedy']
# One start of GD is not random, and it may be the best.
RANDOM = [name for name in GUESSING if name not in ('latco', 'gradient')]
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


def cost_of(distance, problem, plan, path_weight=1.0):
    return rollout_cost(distance(plan.rollout, problem.goal[:, None]), path_weight)
