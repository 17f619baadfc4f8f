"""Free final time: plans that end where they are best, and stop from there on."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.planning.candidates import Candidates
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import roll_out


@torch.no_grad()
def end_early(
    distance: GoalDistance,
    problem: PlanProblem,
    candidates: Candidates,
    charge: float,
    path_weight: float,
) -> Candidates:
    """The candidate and final time of each problem with the least distance plus charged time.

    t* = argmin_t d(s_t, g) + charge * t over t = 0 .. T; the actions from t* on are the stop
    action. A horizon that is longer than needed then neither makes the robot linger nor overshoot.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems.
        candidates: (B, C), with their serial rollouts.
        charge: of each model step, in units of the distance.
        path_weight: as in `rollout_cost`.

    Returns:
        One candidate for each problem (B, 1), rolled out anew; its states are that rollout.
    """
    goal = problem.goal[:, None]
    start = distance(problem.context[:, -1:], goal)
    along = distance(candidates.rollout, goal[:, None])
    along = torch.cat([start[:, None].expand_as(along[..., :1]), along], dim=-1)
    steps = torch.arange(along.shape[-1], dtype=along.dtype, device=along.device)
    charged = torch.nan_to_num(along + charge * steps, nan=float('inf'))
    least, final = charged.min(dim=-1)
    chosen = least.argmin(dim=1, keepdim=True)
    actions = _stopped(
        candidates.take(chosen).actions, final.gather(1, chosen), problem.stop_action
    )
    return roll_out(distance, problem, actions, path_weight)


def _stopped(actions: Tensor, final: Tensor, stop: Tensor) -> Tensor:
    """Actions (B, C, T, A) with the stop action from the time `final` (B, C) on."""
    steps = torch.arange(actions.shape[2], device=actions.device)
    return torch.where((steps < final[..., None])[..., None], actions, stop)
