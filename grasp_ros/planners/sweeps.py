"""Rollouts and their gradients without a loop over time: fixed-point sweeps of virtual states."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.core.objective import GoalDistance, rollout_cost
from grasp_ros.core.types import PlanProblem
from grasp_ros.core.world_model import WorldModel, predict_windows, windows


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
    horizon, history = actions.shape[1], problem.context.shape[1]
    with torch.enable_grad():
        variable = states.detach().requires_grad_()
        along = distance(variable, problem.goal[:, None])
        (slope,) = torch.autograd.grad(rollout_cost(along, path_weight).sum(), [variable])
    pullback = _Pullback(distance.model, problem, states, actions, max_rows)
    adjoint = slope
    for _ in range(min(count, horizon - 1)):
        of_latents, _ = pullback(adjoint)
        adjoint = slope.clone()
        # Frame h of window t is the state s_{t - H + 1 + h}, which is at index t - H + h.
        for frame in range(history):
            back = history - frame
            if back < horizon:
                adjoint[:, : horizon - back] += of_latents[:, back:, frame]
    _, of_taken = pullback(adjoint)
    gradient = torch.zeros_like(actions)
    for frame in range(history):
        back = history - 1 - frame
        if back < horizon:
            gradient[:, : horizon - back] += of_taken[:, back:, frame]
    return gradient


class _Pullback:
    """Vector-Jacobian products of all T predictions."""

    def __init__(
        self,
        model: WorldModel,
        problem: PlanProblem,
        states: Tensor,
        actions: Tensor,
        max_rows: int | None,
    ) -> None:
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        self._model = model
        self._latents = latents.detach().requires_grad_()
        self._taken = taken.detach().requires_grad_()
        self._parts = _parts(actions, max_rows)
        self._whole = self._predict(self._parts[0]) if len(self._parts) == 1 else None

    def __call__(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Cotangents (N, T, *Z) to those of latents (N, T, H, *Z) and actions (N, T, H, A)."""
        of_latents, of_taken = torch.zeros_like(self._latents), torch.zeros_like(self._taken)
        for part in self._parts:
            predicted = self._predict(part) if self._whole is None else self._whole
            found = torch.autograd.grad(
                predicted,
                [self._latents, self._taken],
                cotangent[:, part],
                retain_graph=self._whole is not None,
            )
            of_latents += found[0]
            of_taken += found[1]
        return of_latents, of_taken

    def _predict(self, part: slice) -> Tensor:
        with torch.enable_grad():
            return predict_windows(self._model, self._latents[:, part], self._taken[:, part])


def _parts(actions: Tensor, max_rows: int | None) -> list[slice]:
    """Slices of time of about `max_rows` rows."""
    rows, horizon = actions.shape[:2]
    chunk = horizon if max_rows is None else max(1, max_rows // rows)
    return [slice(first, first + chunk) for first in range(0, horizon, chunk)]
