"""Plans that end where they are best."""

from dataclasses import replace

import torch

from grasp_ros.planning.ablations.final_time import end_early
from grasp_ros.planning.objective import goal_distance
from grasp_ros.planning.sampling import roll_out
from harness.toy_models import LinearModel, LinearModelWithHead, problem_for


def straight(model, speeds, *, distance_away):
    """One problem in which candidates move along x at these speeds for 10 steps."""
    problem = problem_for(model, 10)
    ahead = torch.tensor([[distance_away, 0.0]], dtype=torch.float64)
    problem = replace(problem, goal=problem.context[:, -1] + ahead)
    actions = torch.zeros(1, len(speeds), 10, 2, dtype=torch.float64)
    actions[..., 0] = torch.tensor(speeds, dtype=torch.float64)[:, None]
    distance = goal_distance(model)
    return problem, distance, roll_out(distance, problem, actions, 1.0)


def test_an_overshooting_plan_stops_at_the_goal():
    problem, distance, candidates = straight(LinearModel(), [0.5], distance_away=2.0)
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions.shape == (1, 1, 10, 2)
    assert (found.actions[0, 0, :4, 0] == 0.5).all()
    assert (found.actions[0, 0, 4:] == problem.stop_action).all()
    torch.testing.assert_close(found.rollout[:, 0, -1], problem.goal)


def test_the_quick_way_is_chosen_although_it_overshoots():
    problem, distance, candidates = straight(LinearModel(), [0.2, 0.5], distance_away=2.0)
    assert candidates.cost.argmin() == 0
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions[0, 0, 0, 0] == 0.5


def test_at_the_goal_it_stops_at_once():
    problem, distance, candidates = straight(LinearModel(), [0.5], distance_away=0.0)
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert (found.actions == problem.stop_action).all()


def test_time_that_costs_more_than_it_gains_is_not_taken():
    """A step gains 0.5 of distance here."""
    model = LinearModelWithHead()
    problem, distance, candidates = straight(model, [0.5], distance_away=2.0)
    for charge, moving in ((0.4, 4), (0.6, 0)):
        found = end_early(distance, problem, candidates, charge, 1.0)
        assert int((found.actions[0, 0, :, 0] != 0).sum()) == moving


def test_nan_is_not_chosen():
    problem, distance, candidates = straight(LinearModel(), [0.2, 0.5], distance_away=2.0)
    candidates.rollout[:, 1] = float('nan')
    found = end_early(distance, problem, candidates, 0.001, 1.0)
    assert found.actions[0, 0, 0, 0] == 0.2
