"""Candidates of a solve, scored by serial rollouts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grasp_ros.models.protocol import predict_windows, windows
from grasp_ros.planning.objective import (
    GoalDistance,
    knows_manifold,
    rollout_cost,
    squared_error,
    trust_horizon,
)
from grasp_ros.planning.problem import Plan, PlanProblem


@dataclass(frozen=True, eq=False)
class Candidates:
    """C candidates for each of B problems.

    Attributes:
        actions: (B, C, T, A).
        states: virtual states (B, C, T, *Z).
        rollout: serial rollout of the actions (B, C, T, *Z).
        cost: of the rollout (B, C).
    """

    actions: Tensor
    states: Tensor
    rollout: Tensor
    cost: Tensor

    def best(self, count: int) -> Candidates:
        """The `count` cheapest of each problem, cheapest first; NaN costs come last."""
        cost = torch.nan_to_num(self.cost, nan=float('inf'))
        order = cost.topk(min(count, cost.shape[1]), dim=1, largest=False).indices
        return self.take(order)

    def take(self, index: Tensor) -> Candidates:
        """The candidates `index` (B, K) of each problem."""

        def pick(tensor: Tensor) -> Tensor:
            shaped = index.reshape(*index.shape, *[1] * (tensor.dim() - 2))
            return tensor.gather(1, shaped.expand(*index.shape, *tensor.shape[2:]))

        return Candidates(
            pick(self.actions),
            pick(self.states),
            pick(self.rollout),
            pick(self.cost),
        )


def score(
    distance: GoalDistance,
    problem: PlanProblem,
    actions: Tensor,
    states: Tensor,
    rollout: Tensor,
    path_weight: float,
) -> Candidates:
    """Cost of candidates by their serial rollouts; all tensors (B, C, T, ...)."""
    with torch.no_grad():
        along = distance(rollout, problem.goal[:, None, None])
    cost = rollout_cost(along, path_weight)
    return Candidates(actions, states, rollout, cost)


def concatenate(first: Candidates, second: Candidates) -> Candidates:
    """Candidates of both, problem by problem."""
    return Candidates(
        *(
            torch.cat([getattr(first, name), getattr(second, name)], dim=1)
            for name in ('actions', 'states', 'rollout', 'cost')
        )
    )


def tile(problem: PlanProblem, count: int) -> PlanProblem:
    """The problem repeated for `count` candidates: B becomes B * count rows."""
    return replace(
        problem,
        context=problem.context.repeat_interleave(count, dim=0),
        past_actions=problem.past_actions.repeat_interleave(count, dim=0),
        goal=problem.goal.repeat_interleave(count, dim=0),
    )


@torch.no_grad()
def to_plan(
    distance: GoalDistance,
    problem: PlanProblem,
    candidates: Candidates,
    iterations: int,
    solve_time_s: float,
) -> Plan:
    """The first candidate of each problem as a plan, its defect measured."""
    chosen = candidates.take(torch.zeros_like(candidates.cost[:, :1], dtype=torch.int64))
    actions, states = chosen.actions[:, 0], chosen.states[:, 0]
    latents, taken = windows(problem.context, states, problem.past_actions, actions)
    predicted = predict_windows(distance.model, latents, taken)
    dims = len(distance.model.latent_shape)
    residual = squared_error(predicted, states, dims).sqrt()
    defect = (
        residual[:, :-1].amax(dim=1)
        if problem.horizon > 1
        else torch.zeros_like(residual[:, 0])
    )
    return Plan(
        actions=actions,
        states=states,
        rollout=chosen.rollout[:, 0],
        terminal_cost=distance(chosen.rollout[:, 0, -1], problem.goal),
        defect=defect,
        iterations=iterations,
        solve_time_s=solve_time_s,
        trust_horizon=(
            trust_horizon(distance.model, chosen.rollout[:, 0])
            if knows_manifold(distance.model)
            else None
        ),
    )
