"""What a plan is judged by: goal distances, the lifted loss and its gradients, rollout costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from grasp_ros.core.types import PlanProblem
from grasp_ros.core.world_model import (
    HasManifold,
    HasTimeToReach,
    WorldModel,
    predict_windows,
    windows,
)

DistanceKind = Literal['auto', 'latent', 'time_to_reach']


@dataclass(frozen=True)
class GoalDistance:
    """How far latents are from a goal, as a planner sees it.

    Attributes:
        model: the world model.
        kind: 'latent' is the mean squared difference of the latents' elements, as in
            arXiv 2602.00475; 'time_to_reach' is the model's learned head, in model steps.
        manifold_weight: of the off-manifold penalty, in units of the distance; 0 for none.
    """

    model: WorldModel
    kind: Literal['latent', 'time_to_reach']
    manifold_weight: float = 0.0

    def __call__(self, latents: Tensor, goal: Tensor) -> Tensor:
        """What planners minimise: the distance, and a penalty where no picture could be.

        Args:
            latents: (..., *Z).
            goal: (..., *Z); leading shapes broadcast.

        Returns:
            (...).
        """
        distance = self.to_goal(latents, goal)
        if self.manifold_weight == 0.0:
            return distance
        excess = torch.relu(cast(HasManifold, self.model).off_manifold(latents) - 1.0)
        return distance + self.manifold_weight * excess

    def to_goal(self, latents: Tensor, goal: Tensor) -> Tensor:
        """The distance alone (...) of latents (..., *Z) to goals (..., *Z)."""
        if self.kind == 'time_to_reach':
            return cast(HasTimeToReach, self.model).time_to_reach(latents, goal)
        return squared_error(latents, goal, len(self.model.latent_shape))

    @property
    def unit(self) -> str:
        """Unit of the distance, for people."""
        return 'model steps' if self.kind == 'time_to_reach' else 'latent'


def knows_manifold(model: WorldModel) -> bool:
    """Whether the model can tell latents of pictures from others."""
    return isinstance(model, HasManifold) and model.knows_manifold


@torch.no_grad()
def trust_horizon(model: WorldModel, rollout: Tensor) -> Tensor:
    """Steps (B,) of rollouts (B, T, *Z) before the first that no picture could be of.

    Raises:
        ValueError: if the model does not know its manifold.
    """
    if not knows_manifold(model):
        raise ValueError('the trust horizon needs a model that knows its manifold')
    trusted = cast(HasManifold, model).off_manifold(rollout) <= 1.0
    return trusted.long().cumprod(dim=1).sum(dim=1)


def goal_distance(
    model: WorldModel, kind: DistanceKind = 'auto', manifold_weight: float = 0.0
) -> GoalDistance:
    """The goal distance of that kind; 'auto' prefers a learned head where the model has one.

    Raises:
        ValueError: if 'time_to_reach' is asked of a model without such a head, or a penalty of
            one that does not know its manifold.
    """
    if manifold_weight and not knows_manifold(model):
        raise ValueError(
            'manifold_weight needs a model that was trained with manifold_hidden above 0, and '
            'this one was not; set it to 0'
        )
    learned = isinstance(model, HasTimeToReach)
    if kind == 'time_to_reach' and not learned:
        raise ValueError(
            "goal distance 'time_to_reach' needs a model with a time-to-reach head, and this one "
            "has none; use 'latent' or 'auto'"
        )
    if kind == 'auto':
        kind = 'time_to_reach' if learned else 'latent'
    return GoalDistance(model, kind, manifold_weight)


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
        loss: (B,) dynamics plus weighted goal terms, summed over time.
        states: gradient (B, T, *Z) in the virtual states; zero in s_T, which is no variable.
        actions: gradient (B, T, A).
        residual: root-mean-square dynamics residual of each step (B, T).
    """

    loss: Tensor
    states: Tensor
    actions: Tensor
    residual: Tensor


def lifted_gradients(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    *,
    goal_weight: float,
    stop_gradient: bool = True,
    max_rows: int | None = None,
) -> LiftedGradients:
    """Gradients of GRASP's lifted loss, all T steps of all candidates in one prediction.

    L = sum_t |F(sg(s_t), a_t) - s_{t+1}|^2 + goal_weight * d(F(sg(s_t), a_t), g), with the mean
    over the latent's elements (arXiv 2602.00475). With the latent distance s_T is fixed to the
    goal; with a learned one s_T is free, so that its residual drops out: a goal beyond the horizon
    must not pull in latent space. With stop_gradient the gradient in a state is closed-form,
    2 (s_{t+1} - F_t) / D, and no backward pass reaches the states.

    Args:
        distance: goal distance d; its model predicts.
        problem: context (B, H, *Z) and goal (B, *Z), one row for each candidate.
        states: virtual states s_1 .. s_T (B, T, *Z).
        actions: (B, T, A).
        goal_weight: gamma.
        stop_gradient: False lets the gradient flow into the states that are predicted from.
        max_rows: predict in chunks of time with about so many rows; None for one call.
    """
    horizon = actions.shape[1]
    latent_dims = len(distance.model.latent_shape)
    chunk = horizon if max_rows is None else max(1, max_rows // len(actions))
    counted = actions.new_ones(horizon)
    if distance.kind != 'latent':
        counted[-1] = 0.0
    with torch.enable_grad():
        actions = actions.detach().requires_grad_()
        states = states.detach().requires_grad_(not stop_gradient)
        latents, taken = windows(problem.context, states, problem.past_actions, actions)
        variables = [actions] if stop_gradient else [actions, states]
        gradients: list[Tensor] = []
        losses, errors, predictions = [], [], []
        for first in range(0, horizon, chunk):
            part = slice(first, first + chunk)
            predicted = predict_windows(distance.model, latents[:, part], taken[:, part])
            error = squared_error(predicted, states[:, part], latent_dims) * counted[part]
            loss = error + goal_weight * distance(predicted, problem.goal[:, None])
            more = torch.autograd.grad(loss.sum(), variables, retain_graph=first + chunk < horizon)
            gradients = [
                extra if not gradients else gradients[index] + extra
                for index, extra in enumerate(more)
            ]
            losses.append(loss.detach())
            errors.append(error.detach())
            predictions.append(predicted.detach())
    if stop_gradient:
        elements = states[0, 0].numel()
        state_gradient = (states - torch.cat(predictions, dim=1)) * (2.0 / elements)
    else:
        state_gradient = gradients[1]
    state_gradient[:, -1] = 0.0
    return LiftedGradients(
        loss=torch.cat(losses, dim=1).sum(dim=1),
        states=state_gradient,
        actions=gradients[0],
        residual=torch.cat(errors, dim=1).sqrt(),
    )
