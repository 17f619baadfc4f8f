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

from grasp_ros.core.objective import rollout_gradient, squared_error
from grasp_ros.core.types import PlanProblem
from grasp_ros.core.world_model import WorldModel
from grasp_ros.planners.candidates import Candidates, expand, judge
from grasp_ros.planners.capture import Executor, Pace, executor_for, problem_of, tensors_of
from grasp_ros.planners.lifted import LiftedIteration, LiftedSettings, Moments, Precision
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
    precision: Precision = option(  # noqa: RUF009 - it makes a field
        'float32',
        "of predictions in lifted iterations; float32 stands for the model's own",
        choices=get_args(Precision),
    )
    capture: bool = option(True, 'on a CUDA device, capture the solve as graphs and replay them')


class GraspPlanner(SeededPlanner[GraspConfig]):
    """GRASP behind the Planner protocol."""

    def __init__(
        self,
        model: WorldModel,
        config: GraspConfig,
        observer: Observer | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Plan with `model`.

        Args:
            model: the world model.
            config: hyper-parameters.
            observer: called with the number of iterations made, the virtual states (B * C, T, *Z)
                and the actions (B * C, T, A), at the start and after every iteration; for
                pictures.
            executor: runs what can be captured; None for the one that fits device and config.

        Raises:
            ValueError: if the configured goal distance needs a head that the model has not.
        """
        super().__init__(model, config, executor or executor_for(model.device, config.capture))
        self._lifted: dict[torch.Size, LiftedIteration] = {}
        self._observer = observer
        self._settings = LiftedSettings(
            config.state_rate,
            config.action_rate,
            config.stop_gradient,
            config.max_rows_per_call or None,
            config.precision,
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
        states = self._with_goal(wide, seeds.states.flatten(0, 1))
        lifted = self._begin(wide, states, seeds.actions.flatten(0, 1))
        # Candidates that start from the same seed differ by their first noise (as in the paper).
        lifted.add_noise(config.state_noise, generator)
        phase = config.sync_every or config.iterations
        done = 0
        self._observe(done, lifted)
        rolled: Tensor | None = None
        pace = Pace(self.model.device)
        while done < config.iterations and not clock.passed():
            fraction = (done % phase) / phase
            lifted.iterate(
                _between(config.goal_weight, config.goal_weight_end, fraction),
                _between(config.state_noise, config.state_noise_end, fraction),
                generator,
            )
            pace.step()
            done += 1
            rolled = None
            if config.sync_every and done % config.sync_every == 0 and not clock.passed():
                actions, rolled = self._sync(wide, lifted.states, lifted.actions, generator)
                lifted.restart(self._with_goal(wide, rolled), actions)
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

    def _begin(self, problem: PlanProblem, states: Tensor, actions: Tensor) -> LiftedIteration:
        """The iteration of a solve; a captured one is used again for the same shapes."""
        lifted = self._lifted.get(states.shape)
        if lifted is not None:
            lifted.begin(problem, states, actions)
            return lifted
        lifted = LiftedIteration(
            self.distance, problem, self._settings, states, actions, self.executor
        )
        if self.executor.recording_now:
            self._lifted[states.shape] = lifted
        return lifted

    def _sync(
        self, problem: PlanProblem, states: Tensor, actions: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Improve the serial rollout's cost; the new actions and their rollout."""
        if self.config.sync_kind == 'cem':
            actions = self._cem_rounds(problem, states, actions, generator)
        else:
            (actions,) = self.executor(
                'gradient sync', self._gradient_steps, *tensors_of(problem), actions
            )
        return actions, self._rollout(problem, actions)

    def _with_goal(self, problem: PlanProblem, states: Tensor) -> Tensor:
        """Virtual states whose last one is the goal, where the distance is the latent one."""
        if self.distance.kind != 'latent':
            return states
        return torch.cat([states[:, :-1], problem.goal[:, None]], dim=1)

    def _gradient_steps(self, *tensors: Tensor) -> tuple[Tensor]:
        """Adam steps on the serial rollout's cost; the last of the tensors are the actions."""
        actions = tensors[-1].clone()
        problem = problem_of(tensors[:-1], actions.shape[1])
        moments = Moments(actions, self.config.sync_rate)
        for _ in range(self.config.sync_steps):
            moments.step(
                rollout_gradient(self.distance, problem, actions, self.config.path_weight)
            )
            actions.clamp_(problem.action_low, problem.action_high)
        return (actions,)

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
