"""GRASP's iteration as public ports write it: a Python loop over time, states left to autograd.

The rival of the batched iteration in the speed tables: the same losses, the same optimiser, the
same model and precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.planning.objective import GoalDistance, squared_error
from grasp_ros.planning.problem import PlanProblem


def loop_loss(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    goal_weight: float,
) -> Tensor:
    """The lifted loss with stop-gradient, one prediction for each step.

    Args:
        distance: goal distance; its model predicts.
        problem: context (B, H, *Z) and goal (B, *Z).
        states: virtual states s_1 .. s_T (B, T, *Z), with gradients.
        actions: (B, T, A), with gradients.
        goal_weight: gamma.

    Returns:
        (B,) losses, equal to those of `lifted_gradients`.
    """
    model, history = distance.model, problem.context.shape[1]
    horizon, dims = actions.shape[1], len(distance.model.latent_shape)
    frames = list(problem.context.unbind(dim=1))
    taken = list(problem.past_actions.unbind(dim=1))
    total = actions.new_zeros(len(actions))
    for step in range(horizon):
        taken.append(actions[:, step])
        predicted = model.predict(
            torch.stack(frames[-history:], dim=1), torch.stack(taken[-history:], dim=1)
        )
        if step < horizon - 1 or distance.kind == 'latent':
            total = total + squared_error(predicted, states[:, step], dims)
        total = total + goal_weight * distance(predicted, problem.goal)
        frames.append(states[:, step].detach())
    return total


def loop_iteration(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    optimiser: torch.optim.Optimizer,
    goal_weight: float,
) -> Tensor:
    """One optimiser step on states and actions (leaves with gradients); the losses (B,)."""
    optimiser.zero_grad(set_to_none=True)
    loss = loop_loss(distance, problem, states, actions, goal_weight)
    loss.sum().backward()
    if distance.kind == 'latent' and states.grad is not None:
        states.grad[:, -1] = 0.0
    optimiser.step()
    return loss.detach()
