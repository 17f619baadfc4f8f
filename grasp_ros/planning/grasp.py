"""GRASP: actions and virtual states optimised together, in parallel over the horizon.

Psenka, Rabbat, Krishnapriyan, LeCun, Bar: "Parallel Stochastic Gradient-Based Planning for World
Models", arXiv 2602.00475. Beyond the paper, each with a switch: a learned goal distance;
candidates that start from a greedy rollout and from temporally correlated proposals;
Levenberg-Marquardt action steps; syncs by cross-entropy rounds or parallel sweeps; rates and noise
in units of the latents' scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.base import Deadline, InitialGuessPlanner
from grasp_ros.planning.candidates import Candidates, score, tile
from grasp_ros.planning.cuda_graphs import (
    Executor,
    HostThrottle,
    executor_for,
    tensors_of,
    with_tensors,
)
from grasp_ros.planning.gauss_newton import GaussNewtonIteration
from grasp_ros.planning.initial_guess import InitialGuessOptions, repeat_to_count
from grasp_ros.planning.lifted import (
    InPlaceAdam,
    LiftedIteration,
    LiftedSettings,
    Precision,
    latent_scale_of,
)
from grasp_ros.planning.objective import fill_unobserved, rollout_gradient, squared_error
from grasp_ros.planning.options import changed, option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import draw, sample_costs, select
from grasp_ros.planning.sweeps import adjoint_gradient, sweep

SyncKind = Literal['gradient', 'cem', 'sweeps']
ActionStepKind = Literal['adam', 'gauss_newton']
Observer = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class GraspConfig(InitialGuessOptions):
    """Hyper-parameters. Rates and noise are in units of latents and of normalised actions."""

    iterations: int = option(6, 'lifted iterations of a solve', 0, 100000)
    candidates: int = option(
        3,
        'candidates solved side by side; without noise none beyond the initial guesses differs',
        1,
        1024,
    )
    state_rate: float = option(0.1, 'Adam learning rate of the virtual states', 0, 10)
    action_rate: float = option(0.05, 'Adam learning rate of the normalised actions', 0, 10)
    state_relaxation: float = option(
        0.0,
        'move virtual states by this share of the way to their predictions in place of Adam; '
        '0 for Adam',
        0,
        1,
    )
    action_step: ActionStepKind = option(  # noqa: RUF009 - it makes a field
        'adam',
        'optimiser of the actions; gauss_newton is damped by Levenberg and Marquardt',
        choices=get_args(ActionStepKind),
    )
    damping: float = option(1e-3, 'first damping of gauss_newton', 0, 1e6)
    spread_units: bool = option(
        False,
        "state_rate, state_noise and squared residuals in units of the latents' standard "
        'deviation in the initial guesses of a solve',
    )
    state_noise: float = option(
        0.0, 'standard deviation of the noise on virtual states', 0, 100
    )
    state_noise_end: float = option(
        0.0, 'the same at the end of each phase between syncs', 0, 100
    )
    goal_weight: float = option(0.02, 'gamma, weight of the dense goal term', 0, 1e6)
    goal_weight_end: float = option(0.02, 'the same at the end of each phase', 0, 1e6)
    stop_gradient: bool = option(
        True, 'cut the gradient into the states that are predicted from'
    )
    sync_every: int = option(0, 'iterations between syncs; 0 for none', 0, 100000)
    sync_kind: SyncKind = option(  # noqa: RUF009 - it makes a field
        'gradient',
        'gradient steps or cross-entropy rounds on the serial rollout, or gradient steps on '
        'parallel sweeps',
        choices=get_args(SyncKind),
    )
    sync_steps: int = option(1, 'gradient steps of a sync', 1, 10000)
    sync_rate: float = option(0.05, 'learning rate of these steps', 0, 10)
    sync_sweeps: int = option(
        4, 'sweeps forward and backward in time of each step of a sync by sweeps', 1, 100000
    )
    sync_rounds: int = option(5, 'rounds of a cross-entropy sync', 1, 10000)
    sync_samples: int = option(64, 'action sequences drawn in each of these rounds', 2, 100000)
    sync_elites: int = option(8, 'best ones that the next round follows', 1, 100000)
    sync_variance: float = option(
        0.01,
        'variance of these samples, beside the squared deviation of virtual from rollout state',
        0,
        1e6,
    )
    seed_greedy: bool = changed(InitialGuessOptions, 'seed_greedy', True)
    proposals: int = changed(InitialGuessOptions, 'proposals', 8)
    max_rows_per_call: int = option(
        0, 'chunk predictions to bound memory; 0 for one call', 0, 10**9
    )
    precision: Precision = option(  # noqa: RUF009 - it makes a field
        'float32',
        "of predictions in lifted iterations; float32 stands for the model's own",
        choices=get_args(Precision),
    )
    capture: bool = option(True, 'on a CUDA device, capture the solve as graphs and replay them')


class GraspPlanner(InitialGuessPlanner[GraspConfig]):
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
                figures.
            executor: runs what can be captured; None for the one that fits device and config.

        Raises:
            ValueError: if the configured goal distance needs a head that the model has not, or
                if state gradients or bfloat16 are asked for with gauss_newton.
        """
        if config.action_step == 'gauss_newton':
            if not config.stop_gradient:
                raise ValueError(
                    "action_step 'gauss_newton' takes the virtual states as constants: leave "
                    'stop_gradient on'
                )
            if config.precision != 'float32':
                raise ValueError(
                    "action_step 'gauss_newton' takes differences of predictions: set precision "
                    "to 'float32'"
                )
        super().__init__(model, config, executor or executor_for(model.device, config.capture))
        self._lifted: dict[torch.Size, LiftedIteration] = {}
        self._observer = observer
        self._settings = LiftedSettings(
            config.state_rate,
            config.action_rate,
            config.stop_gradient,
            config.max_rows_per_call or None,
            config.precision,
            config.state_relaxation,
            config.damping,
        )

    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        """Lifted iterations, and between phases of them syncs with the serial rollout."""
        config = self.config
        if config.iterations == 0:
            return guesses.best(1), 0
        guesses = repeat_to_count(guesses, config.candidates)
        wide = tile(problem, config.candidates)
        states = self._with_goal(wide, guesses.states.flatten(0, 1))
        latent_scale = (
            latent_scale_of(problem, guesses.rollout) if config.spread_units else None
        )
        lifted = self._begin(wide, states, guesses.actions.flatten(0, 1), latent_scale)
        # Candidates with the same initial guess differ by their first noise (as in the paper).
        lifted.add_noise(config.state_noise * (latent_scale or 1.0), generator)
        done = 0
        self._observe(done, lifted)
        rolled: Tensor | None = None
        throttle = HostThrottle(self.model.device)
        while done < config.iterations and not deadline.passed():
            goal_weight, noise = self._schedule(done, latent_scale or 1.0)
            lifted.iterate(goal_weight, noise, generator)
            throttle.step()
            done += 1
            rolled = None
            if config.sync_every and done % config.sync_every == 0 and not deadline.passed():
                actions, states, rolled = self._sync(lifted, generator)
                lifted.restart(self._with_goal(wide, states), actions)
            self._observe(done, lifted)
        return self._scored(problem, lifted, rolled), done

    def _schedule(self, done: int, unit: float) -> tuple[float, float]:
        """Goal weight and noise after `done` iterations: from start to end in every phase.

        Args:
            done: iterations made.
            unit: of the latents.
        """
        config = self.config
        phase = config.sync_every or config.iterations
        fraction = (done % phase) / phase
        # A learned distance has units of its own: the squared residuals are scaled against it.
        against = 1.0 if self.distance.kind == 'latent' else unit**2
        return (
            _between(config.goal_weight, config.goal_weight_end, fraction) * against,
            _between(config.state_noise, config.state_noise_end, fraction) * unit,
        )

    def _scored(
        self, problem: PlanProblem, lifted: LiftedIteration, rolled: Tensor | None
    ) -> Candidates:
        """The candidates as they are, by their serial rollouts, which may be known already."""
        if rolled is None:
            rolled = self._rollout(lifted.problem, lifted.actions)
        shape = (problem.batch, len(rolled) // problem.batch)
        return score(
            self.distance,
            problem,
            lifted.actions.unflatten(0, shape),
            lifted.states.unflatten(0, shape),
            rolled.unflatten(0, shape),
            self.config.path_weight,
        )

    def _begin(
        self, problem: PlanProblem, states: Tensor, actions: Tensor, latent_scale: float | None
    ) -> LiftedIteration:
        """The iteration of a solve; a captured one is used again for the same shapes."""
        lifted = self._lifted.get(states.shape)
        if lifted is not None:
            lifted.begin(problem, states, actions, latent_scale)
            return lifted
        kind = (
            GaussNewtonIteration
            if self.config.action_step == 'gauss_newton'
            else LiftedIteration
        )
        lifted = kind(
            self.distance, problem, self._settings, states, actions, self.executor, latent_scale
        )
        if self.executor.recording_now:
            self._lifted[states.shape] = lifted
        return lifted

    def _sync(
        self, lifted: LiftedIteration, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Lower the cost of the actions' rollout: new actions, their states, their serial rollout.

        Sweeps do not make a serial rollout: their states come near it.
        """
        problem, states, actions = lifted.problem, lifted.states, lifted.actions
        if self.config.sync_kind == 'sweeps':
            actions, states = self.executor(
                ('sweep sync', problem.frame_skip),
                partial(self._sweep_steps, problem),
                *tensors_of(problem), states, actions,
            )  # fmt: skip
            return actions, states, None
        if self.config.sync_kind == 'cem':
            actions = self._cem_rounds(problem, states, actions, generator)
        else:
            (actions,) = self.executor(
                ('gradient sync', problem.frame_skip),
                partial(self._gradient_steps, problem),
                *tensors_of(problem), actions,
            )  # fmt: skip
        rolled = self._rollout(problem, actions)
        return actions, rolled, rolled

    def _with_goal(self, problem: PlanProblem, states: Tensor) -> Tensor:
        """Virtual states whose last one is the goal, where the distance is the latent one."""
        if self.distance.kind != 'latent':
            return states
        goal = fill_unobserved(self.model, problem.goal[:, None], states[:, -1:])
        return torch.cat([states[:, :-1], goal], dim=1)

    def _gradient_steps(self, like: PlanProblem, *tensors: Tensor) -> tuple[Tensor]:
        """Adam steps on the serial rollout's cost; the last of the tensors are the actions.

        The others are those of a problem like the one given.
        """
        actions = tensors[-1].clone()
        problem = with_tensors(like, tensors[:-1])
        moments = InPlaceAdam(actions, self.config.sync_rate)
        for _ in range(self.config.sync_steps):
            moments.step(
                rollout_gradient(self.distance, problem, actions, self.config.path_weight)
            )
            actions.clamp_(problem.action_low, problem.action_high)
        return (actions,)

    def _sweep_steps(self, like: PlanProblem, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Adam steps on the cost of states swept towards the rollout; actions and states.

        The last of the tensors are the states to start from and the actions; the others are those
        of a problem like the one given.
        """
        config, rows = self.config, self._settings.max_rows
        states, actions = tensors[-2], tensors[-1].clone()
        problem = with_tensors(like, tensors[:-2])
        moments = InPlaceAdam(actions, config.sync_rate)
        for _ in range(config.sync_steps):
            states = sweep(self.model, problem, states, actions, config.sync_sweeps, rows)
            moments.step(
                adjoint_gradient(
                    self.distance,
                    problem,
                    states,
                    actions,
                    config.path_weight,
                    config.sync_sweeps,
                    rows,
                )
            )
            actions.clamp_(problem.action_low, problem.action_high)
        return actions, sweep(self.model, problem, states, actions, config.sync_sweeps, rows)

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
