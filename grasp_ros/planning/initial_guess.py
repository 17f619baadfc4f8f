"""Starting points of a solve: the previous plan shifted in time, or a line to the goal."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from grasp_ros.planning.problem import Plan, PlanProblem


def shift(plan: Plan, steps: int, stop: Tensor) -> Plan:
    """Warm start: drop the executed actions and fill the horizon with the stop action.

    Args:
        plan: the previous plan; actions (B, T, A), states (B, T, *Z).
        steps: model steps executed since it was made, 0 <= steps.
        stop: the normalised stop action (A,).

    Returns:
        A plan of the same shapes; with steps >= T, all stop. The last state is held.

    Raises:
        ValueError: if steps is negative.
    """
    if steps < 0:
        raise ValueError(f'steps must not be negative, is {steps}')
    steps = min(steps, plan.horizon)
    if steps == 0:
        return plan
    return replace(
        plan,
        actions=torch.cat([plan.actions[:, steps:], _filled(plan, steps, stop)], dim=1),
        states=_advance(plan.states, steps),
        rollout=_advance(plan.rollout, steps),
    )


def resize(plan: Plan, horizon: int, stop: Tensor) -> Plan:
    """Cut a plan to `horizon` model steps, or extend it with the stop action.

    Args:
        plan: actions (B, T, A), states (B, T, *Z).
        horizon: the new T, at least 1.
        stop: the normalised stop action (A,).
    """
    missing = horizon - plan.horizon
    if missing <= 0:
        return replace(
            plan,
            actions=plan.actions[:, :horizon],
            states=plan.states[:, :horizon],
            rollout=plan.rollout[:, :horizon],
        )
    held = [tensor[:, -1:].expand(-1, missing, *tensor.shape[2:]) for tensor in
            (plan.states, plan.rollout)]
    return replace(
        plan,
        actions=torch.cat([plan.actions, _filled(plan, missing, stop)], dim=1),
        states=torch.cat([plan.states, held[0]], dim=1),
        rollout=torch.cat([plan.rollout, held[1]], dim=1),
    )


def cold_start(problem: PlanProblem) -> tuple[Tensor, Tensor]:
    """Start without a previous plan, as in arXiv 2602.00475.

    Returns:
        States on the line from s_0 to the goal (B, T, *Z), the last one the goal, and stop
        actions (B, T, A).
    """
    present, goal = problem.context[:, -1:], problem.goal[:, None]
    fraction = torch.linspace(0, 1, problem.horizon + 1, dtype=goal.dtype, device=goal.device)[1:]
    fraction = fraction.reshape(1, -1, *[1] * (goal.dim() - 2))
    states = present + fraction * (goal - present)
    actions = problem.stop_action.expand(problem.batch, problem.horizon, -1)
    return states, actions.clone()


def _filled(plan: Plan, steps: int, stop: Tensor) -> Tensor:
    return stop.expand(plan.actions.shape[0], steps, -1)


def _advance(states: Tensor, steps: int) -> Tensor:
    held = states[:, -1:].expand(-1, steps, *states.shape[2:])
    return torch.cat([states[:, steps:], held], dim=1)
