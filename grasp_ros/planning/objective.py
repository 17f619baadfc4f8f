"""Objective of planning: goal distances, the lifted loss and its gradients, rollout costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from grasp_ros.models.protocol import (
    HasManifold,
    HasTimeToReach,
    HasTimeToReachGradient,
    WorldModel,
    fold,
    linearise,
    provides,
    visual,
    windows,
)
from grasp_ros.planning.problem import PlanProblem

DistanceKind = Literal['auto', 'latent', 'time_to_reach']


@dataclass(frozen=True)
class GoalDistance:
    """Distance of latents from a goal, which planners minimise.

    Attributes:
        model: the world model.
        kind: 'latent' is the mean squared difference of the latents' elements that images show,
            as in arXiv 2602.00475; 'time_to_reach' is the model's learned head, in model steps.
    """

    model: WorldModel
    kind: Literal['latent', 'time_to_reach']

    def __call__(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Distances of latents from goals.

        Args:
            latents: (..., *Z).
            goal: (..., *Z); leading shapes broadcast.

        Returns:
            (...).
        """
        if self.kind == 'time_to_reach':
            return cast(HasTimeToReach, self.model).time_to_reach(latents, goal)
        seen, shown = visual(self.model, latents), visual(self.model, goal)
        return squared_error(seen, shown, len(self.model.latent_shape))

    def with_gradient(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (...), and the gradient of their sum in the latents (..., *Z).

        The goals broadcast against the latents, not the other way round.
        """
        if self.kind == 'latent':
            difference = latents - goal
            seen = visual(self.model, difference)
            flat = seen.flatten(-len(self.model.latent_shape))
            gradient = difference * (2.0 / flat.shape[-1])
            if seen is not difference:
                gradient[..., seen.shape[-1] :] = 0.0
            return flat.square().mean(dim=-1), gradient
        if provides(self.model, HasTimeToReachGradient):
            return cast(HasTimeToReachGradient, self.model).time_to_reach_gradient(latents, goal)
        return gradient_by_autograd(self, latents, goal)

    @property
    def unit(self) -> str:
        """Unit of the distance, for people."""
        return 'model steps' if self.kind == 'time_to_reach' else 'latent'


def knows_manifold(model: WorldModel) -> bool:
    """Return whether the model can tell latents of images from others."""
    return isinstance(model, HasManifold) and model.knows_manifold


@torch.no_grad()
def trust_horizon(model: WorldModel, rollout: Tensor) -> Tensor:
    """Steps (B,) of rollouts (B, T, *Z) before the first that no image could be of.

    Raises:
        ValueError: if the model does not know its manifold.
    """
    if not knows_manifold(model):
        raise ValueError('the trust horizon needs a model that knows its manifold')
    trusted = cast(HasManifold, model).off_manifold(rollout) <= 1.0
    return trusted.long().cumprod(dim=1).sum(dim=1)


def goal_distance(model: WorldModel, kind: DistanceKind = 'auto') -> GoalDistance:
    """The goal distance of that kind; 'auto' prefers a learned head where the model has one.

    Raises:
        ValueError: if 'time_to_reach' is asked of a model without such a head.
    """
    learned = isinstance(model, HasTimeToReach)
    if kind == 'time_to_reach' and not learned:
        raise ValueError(
            "goal distance 'time_to_reach' needs a model with a time-to-reach head, and this one "
            "has none; use 'latent' or 'auto'"
        )
    if kind == 'auto':
        kind = 'time_to_reach' if learned else 'latent'
    return GoalDistance(model, kind)


def gradient_by_autograd(
    distance: Callable[[Tensor, Tensor], Tensor], latents: Tensor, goal: Tensor
) -> tuple[Tensor, Tensor]:
    """Distances (...) and the gradient of their sum in the latents, for any distance."""
    latents = latents.detach().requires_grad_()
    with torch.enable_grad():
        distances = distance(latents, goal)
        (gradient,) = torch.autograd.grad(distances.sum(), [latents])
    return distances.detach(), gradient


def squared_error(first: Tensor, second: Tensor, latent_dims: int) -> Tensor:
    """Mean squared difference over the last `latent_dims` dimensions."""
    return (first - second).square().flatten(-latent_dims).mean(dim=-1)


def rollout_cost(distance: Tensor, path_weight: float) -> Tensor:
    """Cost of a rollout from its goal distances (..., T): terminal + path_weight * mean."""
    return distance[..., -1] + path_weight * distance.mean(dim=-1)


@dataclass(frozen=True, eq=False)
class LiftedGradients:
    """The lifted loss of B candidates and its gradients.

    Attributes:
        gap: predictions minus virtual states (B, T, *Z); zero where the residual does not count.
        distances: goal distance of each prediction (B, T).
        goal_weight: gamma.
        states: gradient (B, T, *Z) in the virtual states; zero in s_T, which is no variable.
        actions: gradient (B, T, A).
    """

    gap: Tensor
    distances: Tensor
    goal_weight: float | Tensor
    states: Tensor
    actions: Tensor

    @property
    def loss(self) -> Tensor:
        """(B,) dynamics plus weighted goal terms, summed over time."""
        error = self.gap.square().flatten(2).mean(dim=-1)
        return (error + self.goal_weight * self.distances).sum(dim=1)

    @property
    def residual(self) -> Tensor:
        """Root-mean-square dynamics residual of each step (B, T)."""
        return self.gap.square().flatten(2).mean(dim=-1).sqrt()


def lifted_gradients(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    *,
    goal_weight: float | Tensor,
    stop_gradient: bool = True,
    max_rows: int | None = None,
) -> LiftedGradients:
    """Gradients of GRASP's lifted loss, all T steps of all candidates in one prediction.

    L = sum_t |F(sg(s_t), a_t) - s_{t+1}|^2 + goal_weight * d(F(sg(s_t), a_t), g), with the mean
    over the latent's elements (arXiv 2602.00475). With the latent distance s_T is fixed to the
    goal; with a learned one s_T is free, so that its residual drops out: a goal beyond the horizon
    must not pull in latent space. The gradient in a state is closed-form, 2 (s_{t+1} - F_t) / D,
    where stop_gradient keeps the predictor's own out of it.

    Args:
        distance: goal distance d; its model predicts.
        problem: context (B, H, *Z) and goal (B, *Z), one row for each candidate.
        states: virtual states s_1 .. s_T (B, T, *Z).
        actions: (B, T, A).
        goal_weight: gamma, a number or a tensor without dimensions.
        stop_gradient: False lets the gradient flow into the states that are predicted from.
        max_rows: predict in chunks of time with about so many rows; None for one call.
    """
    batch, horizon = actions.shape[:2]
    chunk = horizon if max_rows is None else max(1, max_rows // batch)
    latents, taken = windows(problem.context, states, problem.past_actions, actions)
    scale = 2.0 / problem.goal.shape[1:].numel()

    def part(
        latents: Tensor, taken: Tensor, states: Tensor, last: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gap, distances, and gradients in the windows of some steps; whether s_T is in them."""
        steps = (batch, states.shape[1])
        predicted, pullback = linearise(
            distance.model,
            latents.flatten(0, 1),
            taken.flatten(0, 1),
            through_latents=not stop_gradient,
        )
        predicted = predicted.view(*steps, *predicted.shape[1:])
        gap = predicted - states
        if last:
            mask_unobserved(distance, gap[:, -1])
        distances, gradient = distance.with_gradient(predicted, problem.goal[:, None])
        wanted = torch.add(goal_weight * gradient, gap, alpha=scale)
        of_latents, of_actions = pullback(wanted.flatten(0, 1))
        return (
            gap,
            distances,
            of_latents.reshape(*steps, *of_latents.shape[1:]),
            of_actions.reshape(*steps, *of_actions.shape[1:]),
        )

    if chunk >= horizon:
        gap, distances, of_latents, of_actions = part(latents, taken, states, True)
    else:
        parts = [
            part(latents[:, some], taken[:, some], states[:, some], some.stop >= horizon)
            for first in range(0, horizon, chunk)
            for some in [slice(first, first + chunk)]
        ]
        gap, distances, of_latents, of_actions = (
            torch.cat(column, dim=1) for column in zip(*parts, strict=True)
        )
    of_states = gap * -scale
    if not stop_gradient:
        of_states[:, :-1] += fold(of_latents)[:, problem.context.shape[1] :]
    of_states[:, -1] = 0.0
    return LiftedGradients(
        gap, distances, goal_weight, of_states, fold(of_actions)[:, of_latents.shape[2] - 1 :]
    )


def fill_unobserved(model: WorldModel, goal: Tensor, state: Tensor) -> Tensor:
    """Goals (..., *Z), their elements that images do not show taken from states (..., *Z)."""
    observed = visual(model, goal)
    if observed is goal:
        return goal
    return torch.cat([observed, state[..., observed.shape[-1] :]], dim=-1)


def mask_unobserved(distance: GoalDistance, gap: Tensor) -> None:
    """Set to zero, in the residuals (..., *Z) of s_T, what the goal does not show.

    With a learned distance s_T is free. With the latent one it is the goal, of which images show
    only a part.
    """
    observed = visual(distance.model, gap).shape[-1] if distance.kind == 'latent' else 0
    if observed < gap.shape[-1]:
        gap[..., observed:] = 0.0


def rollout_gradient(
    distance: GoalDistance, problem: PlanProblem, actions: Tensor, path_weight: float
) -> Tensor:
    """Gradient (B, T, A) of the serial rollout's cost in its actions (B, T, A).

    Args:
        distance: goal distance; its model predicts.
        problem: context (B, H, *Z) and goal (B, *Z).
        actions: (B, T, A).
        path_weight: as in `rollout_cost`.
    """
    history, horizon = problem.context.shape[1], actions.shape[1]
    taken = torch.cat([problem.past_actions, actions.detach()], dim=1)
    frames, states, pullbacks = problem.context, [], []
    for step in range(horizon):
        following, pullback = linearise(
            distance.model, frames, taken[:, step : step + history]
        )
        states.append(following)
        pullbacks.append(pullback)
        newest = following.unsqueeze(1)
        frames = newest if history == 1 else torch.cat([frames[:, 1:], newest], dim=1)
    slopes = rollout_slopes(distance, problem, torch.stack(states, dim=1), path_weight)
    # Of s_0 .. s_T and a_{1-H} .. a_{T-1}, summed over the predictions that they take part in.
    of_states: list[Tensor | None] = [None, *slopes.unbind(dim=1)]
    of_taken: list[Tensor | None] = [None] * (history - 1 + horizon)
    for step in reversed(range(horizon)):
        of_following = of_states[step + 1]
        assert of_following is not None
        of_latents, of_actions = pullbacks[step](of_following)
        for frame in range(history):
            before = step + 1 - history + frame
            if before > 0:
                _accumulate(of_states, before, of_latents[:, frame])
            _accumulate(of_taken, step + frame, of_actions[:, frame])
    return torch.stack([each for each in of_taken[history - 1 :] if each is not None], dim=1)


def rollout_slopes(
    distance: GoalDistance, problem: PlanProblem, states: Tensor, path_weight: float
) -> Tensor:
    """Gradient of a rollout's cost in its states (B, T, *Z), each taken for itself."""
    along, slopes = distance.with_gradient(states, problem.goal[:, None])
    weights = along.detach().requires_grad_()
    with torch.enable_grad():
        cost = rollout_cost(weights, path_weight).sum()
        (weights,) = torch.autograd.grad(cost, [weights])
    return slopes * weights.reshape(*weights.shape, *[1] * (slopes.dim() - 2))


def _accumulate(sums: list[Tensor | None], index: int, more: Tensor) -> None:
    so_far = sums[index]
    sums[index] = more if so_far is None else so_far + more
