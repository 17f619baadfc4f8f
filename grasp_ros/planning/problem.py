"""Planning problems, and the plans that answer them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PlanProblem:
    """Reach `goal` from `context` within `horizon` model steps. Actions are normalised.

    Attributes:
        context: latents (B, H, *Z), newest last.
        past_actions: (B, H - 1, A) as published between the context's frames.
        goal: latents (B, *Z).
        action_low: (A,) lower bounds.
        action_high: (A,) upper bounds.
        stop_action: (A,) the action that stops the robot.
        horizon: T, in model steps.
        frame_skip: commands in an action; its A components are those of all of them in turn.
    """

    context: Tensor
    past_actions: Tensor
    goal: Tensor
    action_low: Tensor
    action_high: Tensor
    stop_action: Tensor
    horizon: int
    frame_skip: int = 1

    @property
    def batch(self) -> int:
        """Number of problems B."""
        return self.context.shape[0]


@dataclass(frozen=True, eq=False)
class Plan:
    """A planner's answer for B problems.

    Attributes:
        actions: normalised (B, T, A).
        states: the planner's states s_1 .. s_T (B, T, *Z): virtual states where it has such.
        rollout: serial rollout of `actions` from the context (B, T, *Z): what the model imagines.
        terminal_cost: goal distance of the rollout's last state (B,).
        defect: largest root-mean-square dynamics residual of `states` (B,), in latent units.
        iterations: optimiser iterations made.
        solve_time_s: wall-clock time of the solve in seconds.
        trust_horizon: steps of the rollout before the first that no image could be of (B,);
            None where the model does not know that.
    """

    actions: Tensor
    states: Tensor
    rollout: Tensor
    terminal_cost: Tensor
    defect: Tensor
    iterations: int
    solve_time_s: float
    trust_horizon: Tensor | None = None

    @property
    def horizon(self) -> int:
        """T, in model steps."""
        return self.actions.shape[1]


def to_tensor(array: NDArray[np.float64], like: Tensor) -> Tensor:
    """A numpy array as a tensor of `like`'s dtype and device."""
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)


def to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array on the host."""
    return np.asarray(tensor.detach().to('cpu', torch.float64).numpy())
