"""GRASP: actions and virtual states optimised together, in parallel over the horizon.

Psenka, Rabbat, Krishnapriyan, LeCun, Bar: "Parallel Stochastic Gradient-Based Planning for World
Models", arXiv 2602.00475. Beyond the paper, each with a switch: a learned goal distance, and
candidates seeded from a greedy rollout and from temporally correlated proposals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from grasp_ros.core.objective import rollout_cost, squared_error
from grasp_ros.core.types import PlanProblem
from grasp_ros.core.world_model import WorldModel, rollout
from grasp_ros.planners.candidates import Candidates, expand, judge
from grasp_ros.planners.lifted import LiftedIteration, LiftedSettings
from grasp_ros.planners.options import changed, option
from grasp_ros.planners.sampling import draw, sample_costs, select
from grasp_ros.planners.search import Deadline, SeededPlanner
from grasp_ros.planners.seeds import SeedOptions, fill

SyncKind = Literal['gradient', 'cem']
Observer = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class GraspConfig(SeedOptions):
    """Hyper-parameters. Rates and noise are in units of latents and of normalised actions."""

    iterations: int = option(6, 'lifted iterations of a solve', 0, 100000)
    candidates: int = option(3, 'candidates solved side by side', 1, 1024)
    state_rate: float = option(0.1, 'Adam learning rate of the virtual states', 0, 10)
    action_rate: float = option(0.05, 'Adam learning rate of the normalised actions', 0, 10)
    state_noise: float = option(
        0.02, 'standard deviation of the noise on virtual states', 0, 100
    )
    state_noise_end: float = option(
        0.0, 'the same at the end of each phase between syncs', 0, 100
    )
    goal_weight: float = option(0.02, 'gamma, weight of the dense goal term', 0, 1e6)
    goal_weight_end: float = option(0.02, 'the same at the end of each phase', 0, 1e6)
    stop_gradient: bool = option(
        True, 'cut the gradient into the states that are predicted from'
    )
    sync_every: int = option(6, 'iterations between syncs; 0 for none', 0, 100000)
    sync_kind: SyncKind = option(  # noqa: RUF009 - it makes a field
        'gradient',
        'gradient steps or cross-entropy rounds on the serial rollout',
        choices=get_args(SyncKind),
    )
    sync_steps: int = option(1, 'gradient steps of a sync through the serial rollout', 1, 10000)
    sync_rate: float = option(0.05, 'learning rate of these steps', 0, 10)
    sync_rounds: int = option(5, 'rounds of a cross-entropy sync', 1, 10000)
    sync_samples: int = option(64, 'action sequences drawn in each of these rounds', 2, 100000)
    sync_elites: int = option(8, 'best ones that the next round follows', 1, 100000)
    sync_variance: float = option(
        0.01,
        'variance of these samples, beside the squared deviation of virtual from rollout state',
        0,
        1e6,
    )
    seed_greedy: bool = changed(SeedOptions, 'seed_greedy', True)
    proposals: int = changed(SeedOptions, 'proposals', 8)
    max_rows_per_call: int = option(
        0, 'chunk predictions to bound memory; 0 for one call', 0, 10**9
    )


class GraspPlanner(SeededPlanner[GraspConfig]):
    """GRASP behind the Planner protocol."""

    def __init__(
        self, model: WorldModel, config: GraspConfig, observer: Observer | None = None
    ) -> None:
        """Plan with `model`.

        Args:
            model: the world model.
            config: hyper-parameters.
            observer: called with the number of iterations made, the virtual states (B * C, T, *Z)
                and the actions (B * C, T, A), at the start and after every iteration; for
                pictures.

        Raises:
            ValueError: if the configured goal distance needs a head that the model has not.
        """
        super().__init__(model, config)
        self._observer = observer
        self._settings = LiftedSettings(
            config.state_rate,
            config.action_rate,
            config.stop_gradient,
            config.max_rows_per_call or None,
        )

    def _optimise(
        self,
        problem: PlanProblem,
        seeds: Candidates,
        generator: torch.Generator,
        clock: Deadline,
    ) -> tuple[Candidates, int]:
        """Lifted iterations with syncs; returns the candidates after them, and how many."""
        config = self.config
        if config.iterations == 0:
            return seeds.best(1), 0
        seeds = fill(seeds, config.candidates)
        wide = expand(problem, config.candidates)
        states = seeds.states.flatten(0, 1).clone()
        actions = seeds.actions.flatten(0, 1).clone()
        if self.distance.kind == 'latent':
            states[:, -1] = wide.goal
        lifted = LiftedIteration(self.distance, wide, self._settings, states, actions)
        # Candidates that start from the same seed differ by their first noise (as in the paper).
        lifted.add_noise(config.state_noise, generator)
        phase = config.sync_every or config.iterations
        done = 0
        self._observe(done, lifted)
        rolled: Tensor | None = None
        while done < config.iterations and not clock.passed():
            fraction = (done % phase) / phase
            lifted.iterate(
                _between(config.goal_weight, config.goal_weight_end, fraction),
                _between(config.state_noise, config.state_noise_end, fraction),
                generator,
            )
            done += 1
            rolled = None
            if config.sync_every and done % config.sync_every == 0 and not clock.passed():
                actions, rolled = self._sync(wide, lifted.states, lifted.actions, generator)
                lifted.restart(self._on_rollout(wide, rolled), actions)
            self._observe(done, lifted)
        if rolled is None:
            rolled = self._rollout(wide, lifted.actions)
        shape = seeds.cost.shape
        judged = judge(
            self.distance,
            problem,
            lifted.actions.unflatten(0, shape),
            lifted.states.unflatten(0, shape),
            rolled.unflatten(0, shape),
            config.path_weight,
        )
        return judged, done

    def _sync(
        self, problem: PlanProblem, states: Tensor, actions: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Improve the serial rollout's cost; the new actions and their rollout."""
        if self.config.sync_kind == 'cem':
            actions = self._cem_rounds(problem, states, actions, generator)
        else:
            actions = self._gradient_steps(problem, actions)
        return actions, self._rollout(problem, actions)

    def _on_rollout(self, problem: PlanProblem, rolled: Tensor) -> Tensor:
        """Virtual states that follow a rollout."""
        states = rolled.clone()
        if self.distance.kind == 'latent':
            states[:, -1] = problem.goal
        return states

    @torch.no_grad()
    def _rollout(self, problem: PlanProblem, actions: Tensor) -> Tensor:
        return rollout(self.model, problem.context, problem.past_actions, actions)

    def _gradient_steps(self, problem: PlanProblem, actions: Tensor) -> Tensor:
        """Adam steps on the serial rollout's cost."""
        actions = actions.detach().clone()
        optimiser = torch.optim.Adam([actions], lr=self.config.sync_rate, fused=True)
        goal = problem.goal[:, None]
        for _ in range(self.config.sync_steps):
            with torch.enable_grad():
                variable = actions.detach().requires_grad_()
                states = rollout(self.model, problem.context, problem.past_actions, variable)
                cost = rollout_cost(self.distance(states, goal), self.config.path_weight)
                (gradient,) = torch.autograd.grad(cost.sum(), [variable])
            actions.grad = gradient.contiguous()
            optimiser.step()
            actions.clamp_(problem.action_low, problem.action_high)
        return actions

    def _cem_rounds(
        self, problem: PlanProblem, states: Tensor, actions: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Cross-entropy rounds around the actions, wide where the states left the rollout."""
        config = self.config
        rolled = self._rollout(problem, actions)
        strayed = squared_error(states, rolled, len(self.model.latent_shape))
        deviation = (strayed + config.sync_variance).sqrt()[..., None].expand_as(actions)
        for _ in range(config.sync_rounds):
            samples = draw(problem, actions, deviation, config.sync_samples, 0.0, generator)
            samples[:, 0] = actions
            cost = sample_costs(
                self.distance, problem, samples, config.path_weight, config.max_rows_per_call
            )
            elites = select(samples, cost, config.sync_elites)
            actions, deviation = elites.mean, elites.deviation
        return actions

    def _observe(self, done: int, lifted: LiftedIteration) -> None:
        if self._observer is not None:
            self._observer(done, lifted.states.clone(), lifted.actions.clone())


def _between(start: float, end: float, fraction: float) -> float:
    return start + (end - start) * fraction
