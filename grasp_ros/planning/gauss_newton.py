"""Levenberg-Marquardt steps of the actions on GRASP's lifted loss, by finite differences.

The virtual states are constants here, so an action appears only in the predictions whose history
holds it: with one frame of history every time step is a least-squares problem of its own, with
more the normal equations are banded in time. The derivatives come out of the same prediction as
the loss, which then has 1 + H * A rows for each step; nothing is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.models.protocol import visual, windows
from grasp_ros.planning.lifted import LiftedIteration
from grasp_ros.planning.objective import GoalDistance, mask_unobserved
from grasp_ros.planning.problem import PlanProblem

DIFFERENCE = 4.0
"""Step of the finite differences, in half widths of the action box times the square root of the
precision: between rounding and the model's curvature."""
MIN_DAMPING = 1e-8
MAX_DAMPING = 1e8
SMALL = 1e-12


@dataclass(frozen=True, eq=False)
class ActionStep:
    """Result of a Levenberg-Marquardt step.

    Attributes:
        actions: (N, T, A), inside the bounds.
        damping: for the next step, as given.
        predictions: F(s_t, a_t) with these actions (N, T, *Z).
        loss: lifted loss (N, T) with them.
    """

    actions: Tensor
    damping: Tensor
    predictions: Tensor
    loss: Tensor


def first_damping(actions: Tensor, history: int, damping: float) -> Tensor:
    """Damping of each problem of its own: (N, T) with one frame of history, else (N, 1)."""
    return actions.new_full((len(actions), actions.shape[1] if history == 1 else 1), damping)


@torch.no_grad()
def gauss_newton_step(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    damping: Tensor,
    *,
    goal_weight: float | Tensor,
    max_rows: int | None = None,
) -> ActionStep:
    """Lower |F(s_t, a_t) - s_{t+1}|^2 + goal_weight * d(F(s_t, a_t), g) in the actions.

    A learned distance is the square of its root, which is the residual. With a
    learned one s_T is free, and its residual drops out, as in `lifted_gradients`. A step is taken
    where the loss falls: at each time step with one frame of history, otherwise for each whole
    candidate. The damping becomes a quarter there, four times as much elsewhere.

    Args:
        distance: goal distance d; its model predicts.
        problem: context (N, H, *Z), goal (N, *Z), action bounds.
        states: virtual states s_1 .. s_T (N, T, *Z).
        actions: (N, T, A), inside the bounds.
        damping: as made by `first_damping`; 0 is pure Gauss-Newton.
        goal_weight: gamma.
        max_rows: predict about so many rows at once; None for one call.
    """
    residuals = _Residuals(distance, problem, states, goal_weight, max_rows)
    latents, taken = windows(problem.context, states, problem.past_actions, actions)
    history, size = taken.shape[2:]
    half = (problem.action_high - problem.action_low) / 2
    # Differences point into the box: a model knows nothing of what is outside.
    size_of_step = DIFFERENCE * torch.finfo(taken.dtype).eps ** 0.5
    inward = torch.where(taken > problem.action_low + half, -half, half) * size_of_step
    each = torch.eye(history * size, dtype=taken.dtype, device=taken.device)
    each = each.unflatten(1, (history, size))
    moved = taken[:, :, None] + each * inward[:, :, None]
    predicted, found = residuals(latents, torch.cat([taken[:, :, None], moved], dim=2))
    base = found[:, :, 0]
    slopes = (found[:, :, 1:] - found[:, :, :1]) / inward.flatten(2)[..., None]
    slopes = slopes.unflatten(2, (history, size))

    band, gradient = _normal_equations(slopes, base)
    at_low = (actions <= problem.action_low) & (gradient > 0)
    at_high = (actions >= problem.action_high) & (gradient < 0)
    step = _solve(band, -gradient, damping, ~(at_low | at_high))
    trial = (actions + step).clamp(problem.action_low, problem.action_high)
    _, taken = windows(problem.context, states, problem.past_actions, trial)
    new_predicted, new_found = residuals(latents, taken[:, :, None])

    before, after = base.square().sum(-1), new_found[:, :, 0].square().sum(-1)
    better = after < before if history == 1 else after.sum(1, True) < before.sum(1, True)
    dims = len(distance.model.latent_shape)
    here = better.reshape(*better.shape, *[1] * dims)
    return ActionStep(
        actions=torch.where(better[..., None], trial, actions),
        damping=torch.where(better, damping / 4, damping.clamp(min=MIN_DAMPING) * 4).clamp(
            max=MAX_DAMPING
        ),
        predictions=torch.where(here, new_predicted[:, :, 0], predicted[:, :, 0]),
        loss=torch.where(better, after, before),
    )


class GaussNewtonIteration(LiftedIteration):
    """A lifted iteration whose action step is Levenberg-Marquardt's; the states go as before."""

    def _start_actions(self) -> None:
        history = self.distance.model.history
        self._damping = first_damping(self.actions, history, self.settings.damping)

    def _restart_actions(self) -> None:
        self._damping.fill_(self.settings.damping)

    @torch.no_grad()
    def _step(self) -> tuple[Tensor, ...]:
        """Move the actions, then the states towards the predictions with these actions."""
        found = gauss_newton_step(
            self.distance,
            self.problem,
            self.states,
            self.actions,
            self._damping,
            goal_weight=self._goal_weight,
            max_rows=self.settings.max_rows,
        )
        self.actions.copy_(found.actions)
        self._damping.copy_(found.damping)
        of_states = (self.states - found.predictions) * (2.0 / self.states[0, 0].numel())
        of_states[:, -1] = 0.0
        self._move_states(of_states)
        self.states[:, :-1].addcmul_(self._noise, self._sigma)
        return ()


class _Residuals:
    """Residuals of the lifted loss, for several actions at each time step."""

    def __init__(
        self,
        distance: GoalDistance,
        problem: PlanProblem,
        states: Tensor,
        goal_weight: float | Tensor,
        max_rows: int | None,
    ) -> None:
        self._distance = distance
        self._goal = problem.goal[:, None, None]
        self._states = states[:, :, None]
        self._goal_weight = goal_weight
        self._max_rows = max_rows
        self._dims = len(distance.model.latent_shape)

    def __call__(self, latents: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, T, H, *Z), actions (N, T, M, H, A): predictions, residuals (N, T, M, R)."""
        shape = taken.shape[:3]
        wide = latents[:, :, None].expand(*shape, *latents.shape[2:])
        rows, inputs = wide.flatten(0, 2), taken.flatten(0, 2)
        chunk = self._max_rows or len(rows)
        predicted = torch.cat(
            [
                self._distance.model.predict(rows[first : first + chunk],
                                             inputs[first : first + chunk])
                for first in range(0, len(rows), chunk)
            ]
        ).unflatten(0, shape)  # fmt: skip
        gap = predicted - self._states
        mask_unobserved(self._distance, gap[:, -1])
        gap = gap.flatten(-self._dims)
        gap = gap / gap.shape[-1] ** 0.5
        if self._distance.kind == 'latent':
            seen = visual(self._distance.model, predicted - self._goal)
            to_goal = seen.flatten(-self._dims)
            goal = to_goal * (self._goal_weight / to_goal.shape[-1]) ** 0.5
        else:
            value = self._distance(predicted, self._goal).clamp(min=0.0)
            goal = (self._goal_weight * value + SMALL).sqrt()[..., None]
        return predicted, torch.cat([gap, goal], dim=-1)


def _normal_equations(slopes: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Band (N, T, H, A, A) of J^T J and J^T r (N, T, A).

    Args:
        slopes: derivatives (N, T, H, A, R) of the residuals of step t in the action of its frame.
        residual: (N, T, R).
    """
    rows, horizon, history, size = slopes.shape[:4]
    band = slopes.new_zeros((rows, horizon, history, size, size))
    gradient = slopes.new_zeros((rows, horizon, size))
    for first in range(history):
        # The action of frame h in window t is a_{t - H + 1 + h}; earlier ones are given.
        back = history - 1 - first
        if back >= horizon:
            continue
        last = horizon - back
        gradient[:, :last] += (slopes[:, back:, first] @ residual[:, back:, :, None])[..., 0]
        for second in range(first, history):
            product = slopes[:, back:, first] @ slopes[:, back:, second].mT
            band[:, :last, second - first] += product
    return band, gradient


def _solve(band: Tensor, right: Tensor, damping: Tensor, free: Tensor) -> Tensor:
    """Steps (N, T, A) of the damped normal equations; 0 for actions that are not free."""
    horizon, history = band.shape[1:3]
    inside = free.to(band.dtype)
    padded = torch.cat([inside, inside.new_zeros((len(inside), history - 1, inside.shape[2]))], 1)
    ahead = torch.stack([padded[:, o : o + horizon] for o in range(history)], dim=2)
    band = band * inside[:, :, None, :, None] * ahead[:, :, :, None, :]
    diagonal = band[:, :, 0].diagonal(dim1=-2, dim2=-1)
    # Marquardt's scaling; the small share of the mean holds actions without any effect.
    mean = diagonal.mean(dim=-1, keepdim=True)
    diagonal += damping[..., None] * diagonal + MIN_DAMPING * mean + SMALL + (1 - inside)
    right = right * inside
    if history == 1:
        factor = torch.linalg.cholesky_ex(band[:, :, 0]).L
        return torch.cholesky_solve(right[..., None], factor)[..., 0]
    return solve_banded(band.double(), right.double()).to(right.dtype)


def solve_banded(band: Tensor, right: Tensor) -> Tensor:
    """Solve M x = right for a symmetric positive definite block-banded M, by block Cholesky.

    Groups of W neighbouring blocks make M block-tridiagonal, which takes one factorisation a group
    (Golub & Van Loan, Matrix Computations, section 4.5).

    Args:
        band: (R, N, W + 1, n, n); band[:, k, o] is the block of M in row k, column k + o. Blocks
            beyond the last column are ignored.
        right: (R, N, n).

    Returns:
        x (R, N, n); not finite where M is not positive definite.
    """
    rows, count, offsets, size = band.shape[:4]
    width = offsets - 1
    groups = -(-count // width)
    missing = groups * width - count
    if missing:
        # Unknowns of no equation: their diagonal is the identity.
        filling = band.new_zeros((rows, missing, offsets, size, size))
        filling[:, :, 0] = torch.eye(size, dtype=band.dtype, device=band.device)
        inside = torch.arange(count, device=band.device)[:, None] + torch.arange(
            offsets, device=band.device
        ) < count
        band = torch.cat([band * inside[:, :, None, None], filling], dim=1)
        right = torch.cat([right, right.new_zeros((rows, missing, size))], dim=1)
    band = band.unflatten(1, (groups, width))
    diagonal, upper = _grouped(band)
    right = right.reshape(rows, groups, width * size, 1)
    factors, coupled, forward = [], [], []
    pivot, target = diagonal[:, 0], right[:, 0]
    for group in range(groups):
        factor = torch.linalg.cholesky_ex(pivot).L
        factors.append(factor)
        forward.append(torch.cholesky_solve(target, factor))
        if group + 1 < groups:
            link = upper[:, group]
            coupled.append(torch.cholesky_solve(link, factor))
            pivot = diagonal[:, group + 1] - link.mT @ coupled[-1]
            target = right[:, group + 1] - link.mT @ forward[-1]
    found = [forward[-1]]
    for group in range(groups - 2, -1, -1):
        found.append(forward[group] - coupled[group] @ found[-1])
    solution = torch.stack(found[::-1], dim=1)
    return solution.reshape(rows, groups * width, size)[:, :count]


def _grouped(band: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal and upper blocks (R, G, W * n, W * n) of a band (R, G, W, W + 1, n, n)."""
    rows, groups, width, _, size = band.shape[:5]
    shape = (rows, groups, width, size, width, size)
    diagonal, upper = band.new_zeros(shape), band.new_zeros(shape)
    for row in range(width):
        for column in range(row, width):
            block = band[:, :, row, column - row]
            diagonal[:, :, row, :, column] = block
            diagonal[:, :, column, :, row] = block.mT
        for column in range(row + 1):
            upper[:, :, row, :, column] = band[:, :, row, width + column - row]
    grouped = (rows, groups, width * size, width * size)
    return diagonal.reshape(grouped), upper.reshape(grouped)
