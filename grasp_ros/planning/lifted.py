"""One lifted iteration: gradients, Adam on states and actions, noise, bounds, all in place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from grasp_ros.models.fast_kernels import adam_step
from grasp_ros.planning.cuda_graphs import Executor, tensors_of, with_tensors
from grasp_ros.planning.objective import GoalDistance, lifted_gradients
from grasp_ros.planning.problem import PlanProblem

Precision = Literal['float32', 'bfloat16']


@dataclass(frozen=True)
class LiftedSettings:
    """Settings of all lifted iterations of a planner.

    Attributes:
        state_rate: Adam learning rate of the virtual states.
        action_rate: Adam learning rate of the normalised actions.
        stop_gradient: cut the gradient into the states that are predicted from.
        max_rows: chunk predictions to bound memory; None for one call.
        precision: of the predictions and their derivatives; all else keeps the model's.
        state_relaxation: share of the way to the predictions that the virtual states move, in
            place of Adam; 0 for Adam.
        damping: first one of Levenberg-Marquardt action steps.
    """

    state_rate: float
    action_rate: float
    stop_gradient: bool = True
    max_rows: int | None = None
    precision: Precision = 'float32'
    state_relaxation: float = 0.0
    damping: float = 1e-3


class InPlaceAdam:
    """Adam on one tensor in place; its state stays where it is, so that a graph can hold it."""

    def __init__(self, variable: Tensor, rate: float | Tensor) -> None:
        """Step `variable` with the learning rate `rate`, a number or a tensor that may change."""
        self._variable = variable
        self._rate = rate
        self._first = torch.zeros_like(variable)
        self._second = torch.zeros_like(variable)
        self._steps = torch.zeros((), device=variable.device)

    def reset(self) -> None:
        """Forget all steps."""
        self._first.zero_()
        self._second.zero_()
        self._steps.zero_()

    def step(self, gradient: Tensor) -> None:
        """One step along `gradient`, which has the shape of the variable."""
        self._steps.add_(1)
        adam_step(
            self._variable, gradient, self._first, self._second, self._steps, self._rate
        )


class LiftedIteration:
    """Candidates of a solve under optimisation; `iterate` changes them in place.

    Buffers belong to one shape and are used again: what a solve has found must be copied out.

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
        executor: Executor | None = None,
        latent_scale: float | None = None,
    ) -> None:
        """Begin a solve.

        Args:
            distance: goal distance; its model predicts.
            problem: one row for each candidate, copied.
            settings: of the iteration.
            states: (N, T, *Z), copied.
            actions: (N, T, A), copied.
            executor: runs the iterations; None runs them eagerly.
            latent_scale: unit of the states' learning rate; None for that of the latents, for good.
        """
        self.distance = distance
        self.settings = settings
        self._run = executor or Executor()
        copies = tuple(tensor.clone() for tensor in tensors_of(problem))
        self.problem = with_tensors(problem, copies)
        self.states = states.clone(memory_format=torch.contiguous_format)
        self.actions = actions.clone(memory_format=torch.contiguous_format)
        self._state_rate = self.states.new_full((), settings.state_rate * (latent_scale or 1.0))
        self._of_states = InPlaceAdam(
            self.states, settings.state_rate if latent_scale is None else self._state_rate
        )
        self._start_actions()
        self._noise = torch.zeros_like(self.states[:, :-1])
        self._sigma = self.states.new_zeros(())
        self._goal_weight = self.states.new_zeros(())

    def begin(
        self,
        problem: PlanProblem,
        states: Tensor,
        actions: Tensor,
        latent_scale: float | None = None,
    ) -> None:
        """Begin another solve with the same shapes and distance; all tensors are copied."""
        self._state_rate.fill_(self.settings.state_rate * (latent_scale or 1.0))
        for own, given in zip(tensors_of(self.problem), tensors_of(problem), strict=True):
            own.copy_(given)
        self.restart(states, actions)

    def restart(self, states: Tensor, actions: Tensor) -> None:
        """Go on from other states and actions, which are copied, without what steps remember."""
        self.states.copy_(states)
        self.actions.copy_(actions)
        self._of_states.reset()
        self._restart_actions()

    def iterate(self, goal_weight: float, noise: float, generator: torch.Generator) -> None:
        """Make one iteration.

        Args:
            goal_weight: gamma of this iteration.
            noise: standard deviation of the noise on virtual states after the step.
            generator: of the noise.
        """
        self._goal_weight.fill_(goal_weight)
        self._sigma.fill_(noise)
        # Drawn outside of a graph: any generator will do, and the numbers are the same ones.
        if noise:
            self._noise.normal_(generator=generator)
        self._run(('lifted iteration', self.states.shape), self._step)

    def add_noise(self, sigma: float, generator: torch.Generator) -> None:
        """Add Gaussian noise of that standard deviation to the virtual states but s_T."""
        if sigma:
            self._noise.normal_(generator=generator)
            self.states[:, :-1].add_(self._noise, alpha=sigma)

    def _start_actions(self) -> None:
        """Make what the steps of the actions remember."""
        self._of_actions = InPlaceAdam(self.actions, self.settings.action_rate)

    def _restart_actions(self) -> None:
        """Forget the steps of the actions, in place."""
        self._of_actions.reset()

    @torch.no_grad()
    def _step(self) -> tuple[Tensor, ...]:
        """The part of an iteration that is the same every time, on memory that stays."""
        with self._autocast():
            found = lifted_gradients(
                self.distance,
                self.problem,
                self.states,
                self.actions,
                goal_weight=self._goal_weight,
                stop_gradient=self.settings.stop_gradient,
                max_rows=self.settings.max_rows,
            )
        self._move_states(found.states)
        self._of_actions.step(found.actions)
        self.states[:, :-1].addcmul_(self._noise, self._sigma)
        self.actions.clamp_(self.problem.action_low, self.problem.action_high)
        return ()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.settings.precision == 'float32':
            return nullcontext()
        return torch.autocast(self.states.device.type, torch.bfloat16, cache_enabled=False)

    def _move_states(self, gradient: Tensor) -> None:
        if self.settings.state_relaxation:
            # A plain gradient step of this length is s + share * (F - s).
            share = self.settings.state_relaxation * gradient[0, 0].numel() / 2
            self.states.sub_(gradient, alpha=share)
        else:
            self._of_states.step(gradient)


MIN_SIZE = 1e-6


@torch.no_grad()
def latent_scale_of(problem: PlanProblem, rollouts: Tensor) -> float:
    """Root-mean-square deviation of a latent's element in the neighbourhood of a solve.

    Args:
        problem: B problems, whose contexts (B, H, *Z) and goals (B, *Z) count.
        rollouts: of the initial guesses (B, C, T, *Z).

    Returns:
        The deviation from each problem's mean latent, over all of them; one number, since it
        belongs to the model. Not finite where the rollouts are not.
    """
    seen = torch.cat(
        [problem.context, rollouts.flatten(1, 2), problem.goal[:, None]], dim=1
    ).flatten(2)
    deviation = (seen - seen.mean(dim=1, keepdim=True)).square().mean().sqrt()
    return float(deviation.clamp(min=MIN_SIZE))
