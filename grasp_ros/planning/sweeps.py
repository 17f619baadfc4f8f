"""Rollouts and their gradients without a loop over time: fixed-point sweeps of virtual states."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.models.protocol import (
    Pullback,
    WorldModel,
    fold,
    linearise,
    predict_windows,
    windows,
)
from grasp_ros.planning.objective import GoalDistance, rollout_slopes
from grasp_ros.planning.problem import PlanProblem


@torch.no_grad()
def sweep(
    model: WorldModel,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    count: int,
    max_rows: int | None = None,
) -> Tensor:
    """Jacobi sweeps s_{t+1} <- F(s_t, a_t), all t at once, towards the serial rollout.

    After k sweeps the first k states are those of the serial rollout; where the model forgets,
    later ones come near it sooner. (Summing the increments F(s_t, a_t) - s_t instead, a Picard
    iteration, diverges where the model contracts what leaves the manifold of its latents.)

    Args:
        model: the world model.
        problem: context (N, H, *Z).
        states: to start from, s_1 .. s_T (N, T, *Z).
        actions: (N, T, A).
        count: sweeps.
        max_rows: predict in chunks of time with about so many rows; None for one call.

    Returns:
        States (N, T, *Z).
    """
    for _ in range(count):
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        states = torch.cat(
            [
                predict_windows(model, latents[:, part], taken[:, part])
                for part in _parts(actions, max_rows)
            ],
            dim=1,
        )
    return states


def adjoint_gradient(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    path_weight: float,
    count: int,
    max_rows: int | None = None,
) -> Tensor:
    """Gradient of the rollout's cost in the actions, by backward sweeps over virtual states.

    The adjoint lambda_t = dcost/ds_t + (dF/ds_t)^T lambda_{t+1} is swept for all t at once. After
    k sweeps an action feels the goal distances of the next k + 1 states; after T - 1 sweeps the
    gradient is exact for states that are the actions' rollout.

    Args:
        distance: goal distance; its model predicts.
        problem: context (N, H, *Z) and goal (N, *Z).
        states: s_1 .. s_T (N, T, *Z).
        actions: (N, T, A).
        path_weight: as in `rollout_cost`.
        count: sweeps.
        max_rows: as in `sweep`; in chunks every sweep predicts anew.

    Returns:
        (N, T, A).
    """
    batch, horizon = actions.shape[:2]
    history = problem.context.shape[1]
    slopes = rollout_slopes(distance, problem, states, path_weight)
    latents, taken = windows(problem.context, states, problem.past_actions, actions)
    parts = _parts(actions, max_rows)

    def pullback_of(part: slice) -> Pullback:
        rows = latents[:, part].flatten(0, 1), taken[:, part].flatten(0, 1)
        return linearise(distance.model, *rows)[1]

    whole = pullback_of(parts[0]) if len(parts) == 1 else None

    def pull(adjoint: Tensor) -> tuple[Tensor, Tensor]:
        """Of windows of latents (N, T, H, *Z) and of actions (N, T, H, A)."""
        found = [(whole or pullback_of(part))(adjoint[:, part].flatten(0, 1)) for part in parts]
        of_latents, of_taken = (
            torch.cat([each.unflatten(0, (batch, -1)) for each in column], dim=1)
            for column in zip(*found, strict=True)
        )
        return of_latents, of_taken

    adjoint = slopes
    for _ in range(min(count, horizon - 1)):
        of_states = fold(pull(adjoint)[0])[:, history:]
        adjoint = torch.cat([slopes[:, :-1] + of_states, slopes[:, -1:]], dim=1)
    return fold(pull(adjoint)[1])[:, history - 1 :]


def _parts(actions: Tensor, max_rows: int | None) -> list[slice]:
    """Slices of time of about `max_rows` rows."""
    rows, horizon = actions.shape[:2]
    chunk = horizon if max_rows is None else max(1, max_rows // rows)
    return [slice(first, first + chunk) for first in range(0, horizon, chunk)]
