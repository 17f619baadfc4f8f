"""The trust horizon, on a model that knows its manifold exactly."""

import pytest
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.planning.objective import trust_horizon
from grasp_ros.planning.registry import PLANNERS
from harness.baselines import solve
from harness.toy_models import LinearModel, LinearModelWithHead, problem_for


class BandModel(LinearModelWithHead):
    """Images show only latents whose second number is at most 0.5 in size."""

    knows_manifold = True

    def off_manifold(self, latents):
        return latents[..., 1].abs() / 0.5


@pytest.mark.parametrize('model', [LinearModel(), CompactModel(CompactConfig())])
def test_it_needs_a_model_that_knows(model):
    with pytest.raises(ValueError, match='trust horizon'):
        trust_horizon(model, torch.zeros(1, 2, *model.latent_shape))


def test_trust_ends_before_the_first_step_off_the_manifold():
    second = torch.tensor([[0.1, 0.5, 0.6, 0.1], [0.7, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 0.3]])
    rollout = torch.stack([torch.zeros_like(second), second], dim=-1).double()
    assert trust_horizon(BandModel(), rollout).tolist() == [2, 0, 4]


@pytest.mark.parametrize('name', PLANNERS)
def test_plans_tell_it_where_the_model_knows(name):
    model = BandModel()
    problem = problem_for(model, horizon=8)
    problem.context[:] = 0.0
    problem.goal[:] = torch.tensor([1.0, 2.0], dtype=torch.float64)
    plan = solve(name, model, problem)
    assert plan.rollout[0, -1, 1] > 1.0
    assert torch.equal(plan.trust_horizon, trust_horizon(model, plan.rollout))
    assert plan.trust_horizon[0] < 8
    assert solve(name, LinearModel(), problem).trust_horizon is None
