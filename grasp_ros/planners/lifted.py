"""One lifted iteration: gradients, Adam on states and actions, noise, bounds, all in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.core.objective import GoalDistance, LiftedGradients, lifted_gradients
from grasp_ros.core.types import PlanProblem


@dataclass(frozen=True)
class LiftedSettings:
    """What stays the same in all iterations of a planner.

    Attributes:
        state_rate: Adam learning rate of the virtual states.
        action_rate: Adam learning rate of the normalised actions.
        stop_gradient: cut the gradient into the states that are predicted from.
        max_rows: chunk predictions to bound memory; None for one call.
    """

    state_rate: float
    action_rate: float
    stop_gradient: bool = True
    max_rows: int | None = None


class LiftedIteration:
    """Candidates of a solve under optimisation; `iterate` changes them in place.

    Attributes:
        problem: one row for each candidate (N rows).
        states: virtual states (N, T, *Z).
        actions: (N, T, A).
    """

    def __init__(
        self,
        distance: GoalDistance,
        problem: PlanProblem,
        settings: LiftedSettings,
        states: Tensor,
        actions: Tensor,
    ) -> None:
        """Take over `states` and `actions`: they are changed from now on.

        Args:
            distance: goal distance; its model predicts.
            problem: one row for each candidate.
            settings: of the iteration.
            states: (N, T, *Z).
            actions: (N, T, A).
        """
        self.problem = problem
        self._distance = distance
        self._settings = settings
        self.restart(states, actions)

    def restart(self, states: Tensor, actions: Tensor) -> None:
        """Go on from other states and actions, which are taken over, without Adam's moments."""
        self.states, self.actions = states, actions
        self._optimiser = torch.optim.Adam(
            [
                {'params': [states], 'lr': self._settings.state_rate},
                {'params': [actions], 'lr': self._settings.action_rate},
            ],
            fused=True,
        )

    def iterate(
        self, goal_weight: float, noise: float, generator: torch.Generator
    ) -> LiftedGradients:
        """Make one iteration.

        Args:
            goal_weight: gamma of this iteration.
            noise: standard deviation of the noise on virtual states after the step.
            generator: of the noise.

        Returns:
            Loss and gradients before the step.
        """
        found = lifted_gradients(
            self._distance,
            self.problem,
            self.states,
            self.actions,
            goal_weight=goal_weight,
            stop_gradient=self._settings.stop_gradient,
            max_rows=self._settings.max_rows,
        )
        # The fused Adam reads gradients as if they had the strides of what they belong to.
        self.states.grad = found.states.contiguous()
        self.actions.grad = found.actions.contiguous()
        self._optimiser.step()
        self.add_noise(noise, generator)
        self.actions.clamp_(self.problem.action_low, self.problem.action_high)
        return found

    def add_noise(self, sigma: float, generator: torch.Generator) -> None:
        """Add Gaussian noise of that standard deviation to the virtual states but s_T."""
        if sigma == 0.0 or self.states.shape[1] < 2:
            return
        free = self.states[:, :-1]
        noise = torch.randn(
            free.shape, generator=generator, device=free.device, dtype=free.dtype
        )
        free.add_(noise, alpha=sigma)
