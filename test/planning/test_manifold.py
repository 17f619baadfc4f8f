"""The off-manifold penalty and the trust horizon, on a model that knows its manifold exactly."""

import pytest
import torch

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.planning.baselines.cem import CemConfig, CemPlanner
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.objective import goal_distance, trust_horizon
from harness.toy_models import LinearModel, LinearModelWithHead, problem_for


class BandModel(LinearModelWithHead):
    """Pictures show only latents whose second number is at most 0.5 in size."""

    knows_manifold = True

    def off_manifold(self, latents):
        return latents[..., 1].abs() / 0.5


def test_the_penalty_is_what_exceeds_the_bound():
    distance = goal_distance(BandModel(), 'latent', manifold_weight=3.0)
    latents = torch.tensor([[0.0, 0.5], [0.0, -1.0]], dtype=torch.float64)
    goal = torch.zeros(2, dtype=torch.float64)
    assert distance.to_goal(latents, goal).tolist() == pytest.approx([0.125, 0.5])
    assert distance(latents, goal).tolist() == pytest.approx([0.125, 0.5 + 3.0])


@pytest.mark.parametrize('model', [LinearModel(), CompactModel(CompactConfig())])
def test_a_penalty_needs_a_model_that_knows(model):
    with pytest.raises(ValueError, match='manifold_weight needs a model'):
        goal_distance(model, 'latent', manifold_weight=1.0)
    with pytest.raises(ValueError, match='trust horizon'):
        trust_horizon(model, torch.zeros(1, 2, *model.latent_shape))


def test_trust_ends_before_the_first_step_off_the_manifold():
    second = torch.tensor([[0.1, 0.5, 0.6, 0.1], [0.7, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 0.3]])
    rollout = torch.stack([torch.zeros_like(second), second], dim=-1).double()
    assert trust_horizon(BandModel(), rollout).tolist() == [2, 0, 4]


@pytest.mark.parametrize(
    'planner',
    [
        lambda model, weight: GraspPlanner(
            model,
            GraspConfig(goal_distance='latent', manifold_weight=weight, iterations=60,
                        sync_every=20, sync_steps=5, proposals=64),
        ),
        lambda model, weight: CemPlanner(
            model, CemConfig(goal_distance='latent', manifold_weight=weight)
        ),
    ],
)  # fmt: skip
def test_planners_stay_where_pictures_are(planner):
    """The goal lies off the manifold: the penalty alone keeps the plan on it."""
    model = BandModel()
    problem = problem_for(model, horizon=8)
    problem.context[:] = 0.0
    problem.goal[:] = torch.tensor([1.0, 2.0], dtype=torch.float64)
    free, held = (
        planner(model, weight).plan(problem, generator=torch.Generator().manual_seed(0))
        for weight in (0.0, 100.0)
    )
    assert free.rollout[0, -1, 1] > 1.0
    assert free.trust_horizon[0] < 8
    assert held.rollout[0, :, 1].abs().max() < 0.55
    assert held.terminal_cost[0] == pytest.approx(
        float(goal_distance(model, 'latent').to_goal(held.rollout[0, -1], problem.goal[0]))
    )


def test_a_model_without_a_manifold_has_no_trust_horizon():
    model = LinearModel()
    planner = GraspPlanner(model, GraspConfig(iterations=1))
    plan = planner.plan(problem_for(model, 3), generator=torch.Generator().manual_seed(0))
    assert plan.trust_horizon is None
