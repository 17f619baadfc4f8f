"""GRASP: actions and virtual states optimised together, in parallel over the horizon.

Psenka, Rabbat, Krishnapriyan, LeCun, Bar: "Parallel Stochastic Gradient-Based Planning for World
Models", arXiv 2602.00475. Beyond the paper, each with a switch: a learned goal distance, and
candidates seeded from a greedy rollout and from temporally correlated proposals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.core.objective import (
    DistanceKind,
    GoalDistance,
    goal_distance,
    lifted_gradients,
    rollout_cost,
)
from grasp_ros.core.types import Plan, PlanProblem
from grasp_ros.core.warm_start import cold_start
from grasp_ros.core.world_model import WorldModel, rollout
from grasp_ros.planners.candidates import Candidates, expand, join, judge, to_plan
from grasp_ros.planners.proposals import action_choices, correlated_actions, seed_rollouts


@dataclass(frozen=True)
class GraspConfig:
    """Hyper-parameters. Rates and noise are in units of latents and of normalised actions.

    Attributes:
        goal_distance: 'latent' as in the paper, 'time_to_reach', or 'auto': learned if there.
        iterations: lifted iterations of a solve.
        candidates: solved side by side, the best by serial rollout is returned.
        state_rate: Adam's learning rate of the virtual states.
        action_rate: Adam's learning rate of the actions.
        state_noise: sigma, standard deviation of the noise added to the virtual states.
        state_noise_end: sigma at the end of each phase between two syncs; linear in between.
        goal_weight: gamma, weight of the dense goal term.
        goal_weight_end: gamma at the end of each phase.
        stop_gradient: cut the gradient into the states that are predicted from.
        sync_every: iterations between syncs; 0 for no sync.
        sync_steps: Adam steps of a sync, through the serial rollout.
        sync_rate: their learning rate.
        path_weight: weight of the mean goal distance beside the terminal one wherever serial
            rollouts are judged; 0 as in the paper.
        seed_warm_start: start a candidate from the shifted previous plan.
        seed_greedy: start a candidate from the greedy rollout on the goal distance.
        greedy_choices: actions that the greedy rollout chooses among.
        proposals: correlated random rollouts of which the best seed the other candidates;
            0 for none.
        max_rows_per_call: chunk predictions to bound memory; 0 for one call.
    """

    goal_distance: DistanceKind = 'auto'
    iterations: int = 8
    candidates: int = 4
    state_rate: float = 0.1
    action_rate: float = 0.05
    state_noise: float = 0.02
    state_noise_end: float = 0.0
    goal_weight: float = 0.02
    goal_weight_end: float = 0.02
    stop_gradient: bool = True
    sync_every: int = 8
    sync_steps: int = 1
    sync_rate: float = 0.05
    path_weight: float = 1.0
    seed_warm_start: bool = True
    seed_greedy: bool = True
    greedy_choices: int = 32
    proposals: int = 16
    max_rows_per_call: int = 0


class GraspPlanner:
    """GRASP behind the Planner protocol."""

    def __init__(self, model: WorldModel, config: GraspConfig) -> None:
        """Plan with `model`.

        Raises:
            ValueError: if the configured goal distance needs a head that the model has not.
        """
        self.model = model
        self.config = config
        self.distance: GoalDistance = goal_distance(model, config.goal_distance)
        self._choices: Tensor | None = None

    def prepare(self, problem: PlanProblem) -> None:
        """Compute what does not change between solves: the greedy rollout's choices."""
        if self.config.seed_greedy:
            self._choices = action_choices(problem, self.config.greedy_choices)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """Solve B problems; see the Planner protocol."""
        began = time.perf_counter()
        if self.config.seed_greedy and self._choices is None:
            self.prepare(problem)
        seeds = self._seeds(problem, init, generator)
        clock = _Deadline(began, deadline_s, reserve=time.perf_counter() - began)
        best = seeds.best(1)
        iterations = 0
        if self.config.iterations and not clock.passed():
            optimised, iterations = self._optimise(problem, seeds, generator, clock)
            best = join(best, optimised).best(1)
        elapsed = time.perf_counter() - began
        return to_plan(self.distance, problem, best, iterations, elapsed)

    def _seeds(
        self, problem: PlanProblem, init: Plan | None, generator: torch.Generator
    ) -> Candidates:
        """Starting points (B, C), judged by their serial rollouts, best first."""
        config = self.config
        given: list[Tensor] = []
        lifted: list[Tensor] = []
        if init is not None and config.seed_warm_start:
            given.append(init.actions[:, None])
            lifted.append(init.states[:, None])
        elif not (config.seed_greedy or config.proposals):
            states, actions = cold_start(problem)
            given.append(actions[:, None])
            lifted.append(states[:, None])
        if config.proposals:
            given.append(correlated_actions(problem, config.proposals, generator))
        choices = self._choices if config.seed_greedy else None
        stacked = torch.cat(given, dim=1) if given else None
        actions, rolled = seed_rollouts(self.distance, problem, choices, stacked)
        states = rolled
        if lifted:
            at = 0 if choices is None else 1
            states = torch.cat([rolled[:, :at], *lifted, rolled[:, at + 1 :]], dim=1)
        seeds = judge(self.distance, problem, actions, states, rolled, config.path_weight)
        keep = seeds.best(config.candidates)
        missing = config.candidates - keep.cost.shape[1]
        if missing > 0:
            again = torch.arange(missing, device=rolled.device) % keep.cost.shape[1]
            keep = join(keep, keep.take(again.expand(problem.batch, -1)))
        return keep

    def _optimise(
        self,
        problem: PlanProblem,
        seeds: Candidates,
        generator: torch.Generator,
        clock: _Deadline,
    ) -> tuple[Candidates, int]:
        """Lifted iterations with syncs; returns the candidates after them, and how many."""
        config = self.config
        wide = expand(problem, seeds.cost.shape[1])
        states = seeds.states.flatten(0, 1).clone()
        actions = seeds.actions.flatten(0, 1).clone()
        if self.distance.kind == 'latent':
            states[:, -1] = wide.goal
        # Candidates that start from the same seed differ by their first noise (as in the paper).
        self._add_noise(states, config.state_noise, generator)
        phase = config.sync_every or config.iterations
        done = 0
        optimiser = self._optimiser(states, actions)
        while done < config.iterations and not clock.passed():
            fraction = (done % phase) / phase
            found = lifted_gradients(
                self.distance,
                wide,
                states,
                actions,
                goal_weight=_between(config.goal_weight, config.goal_weight_end, fraction),
                stop_gradient=config.stop_gradient,
                max_rows=config.max_rows_per_call or None,
            )
            # The fused Adam reads gradients as if they had the strides of what they belong to.
            states.grad, actions.grad = found.states.contiguous(), found.actions.contiguous()
            optimiser.step()
            noise = _between(config.state_noise, config.state_noise_end, fraction)
            self._add_noise(states, noise, generator)
            actions.clamp_(problem.action_low, problem.action_high)
            done += 1
            if config.sync_every and done % config.sync_every == 0 and not clock.passed():
                states, actions = self._sync(wide, actions)
                optimiser = self._optimiser(states, actions)
        with torch.no_grad():
            rolled = rollout(self.model, wide.context, wide.past_actions, actions)
        shape = seeds.cost.shape
        judged = judge(
            self.distance,
            problem,
            actions.unflatten(0, shape),
            states.unflatten(0, shape),
            rolled.unflatten(0, shape),
            config.path_weight,
        )
        return judged, done

    def _optimiser(self, states: Tensor, actions: Tensor) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            [
                {'params': [states], 'lr': self.config.state_rate},
                {'params': [actions], 'lr': self.config.action_rate},
            ],
            fused=True,
        )

    def _sync(self, problem: PlanProblem, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient steps on the serial rollout's cost; states follow the rollout."""
        actions = actions.detach().clone()
        optimiser = torch.optim.Adam([actions], lr=self.config.sync_rate, fused=True)
        goal = problem.goal[:, None]
        states = actions
        for _ in range(self.config.sync_steps):
            with torch.enable_grad():
                variable = actions.detach().requires_grad_()
                states = rollout(self.model, problem.context, problem.past_actions, variable)
                cost = rollout_cost(self.distance(states, goal), self.config.path_weight)
                (gradient,) = torch.autograd.grad(cost.sum(), [variable])
            actions.grad = gradient.contiguous()
            optimiser.step()
            actions.clamp_(problem.action_low, problem.action_high)
        with torch.no_grad():
            states = rollout(self.model, problem.context, problem.past_actions, actions)
        if self.distance.kind == 'latent':
            states[:, -1] = problem.goal
        return states, actions

    @staticmethod
    def _add_noise(states: Tensor, sigma: float, generator: torch.Generator) -> None:
        if sigma == 0.0 or states.shape[1] < 2:
            return
        free = states[:, :-1]
        noise = torch.randn(
            free.shape, generator=generator, device=free.device, dtype=free.dtype
        )
        free.add_(noise, alpha=sigma)


@dataclass(frozen=True)
class _Deadline:
    """Whether a solve that began at `began` must come to its end."""

    began: float
    limit_s: float | None
    reserve: float

    def passed(self) -> bool:
        """Whether less than the final judgement's time is left."""
        if self.limit_s is None:
            return False
        return time.perf_counter() - self.began + self.reserve > self.limit_s


def _between(start: float, end: float, fraction: float) -> float:
    return start + (end - start) * fraction
