"""Many trials in lock step with their simulators: one encoding and one solve for all of them.

A trial is one simulated episode with what is carried from one of its replans to the next. The order
of events is that of `grasp_ros.sim.closed_loop.drive`. The randomness is shared by all that run
together; times of their solves mean something only where one trial runs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.limits import Limits, apply_limits
from grasp_ros.control.progress import PlanHorizon
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import WorldModel, rollout
from grasp_ros.planning.initial_guess import resize, shift
from grasp_ros.planning.problem import Plan, PlanProblem, to_numpy, to_tensor
from grasp_ros.planning.protocol import Planner
from grasp_ros.sim.closed_loop import SimulatedEpisode

FINITE = ('actions', 'states', 'terminal_cost', 'defect')


EpisodeT = TypeVar('EpisodeT', bound=SimulatedEpisode)


@dataclass(frozen=True, eq=False)
class Driven(Generic[EpisodeT]):
    """An episode that was driven.

    Attributes:
        episode: at its end.
        plan: the last one made (B = 1), or None.
        iterations: of the optimiser in all solves.
        solve_times_s: of each solve, with all trials that it was for.
        cut: whether it was given up undecided, for want of time.
    """

    episode: EpisodeT
    plan: Plan | None
    iterations: int
    solve_times_s: tuple[float, ...]
    cut: bool


@dataclass(frozen=True, eq=False)
class Setup:
    """All that drives the trials.

    Attributes:
        model: the world model.
        planner: built for the model.
        config: the policy, with what the model's manifest says of times and distances.
        space: of the model's actions, which stop with zero.
        limits: of commands.
        encode: observations (B) to latents (B, *Z), without gradients.
        delay: model steps, 0 or 1, from an image to the first action of the plan made from it.
    """

    model: WorldModel
    planner: Planner
    config: ControllerConfig
    space: ActionSpace
    limits: Limits
    encode: Callable[[Sequence[Any]], Tensor]
    delay: int

    def __post_init__(self) -> None:
        if self.space.kind is ActionKind.POSITION:
            raise ValueError('trials are driven by actions that stop with zero, not by positions')
        if self.delay not in (0, 1) or (self.delay and self.space.frame_skip > 1):
            raise ValueError(
                'the delay must be 0 model steps, or 1 where that is one command; it is '
                f'{self.delay} with {self.space.frame_skip} commands a step'
            )


class _Trial(Generic[EpisodeT]):
    """An episode, and what is carried from one replan to the next."""

    def __init__(self, episode: EpisodeT, config: ControllerConfig, size: int) -> None:
        self.episode = episode
        self.horizon = PlanHorizon(config)
        self.reached = False
        self.previous: tuple[Plan, int] | None = None
        self.commands: tuple[NDArray[np.float64], int] | None = None
        self.executed: list[NDArray[np.float64]] = []
        self.frames: list[Tensor] = []
        self.stop = np.zeros(size)
        self.iterations = 0
        self.times_s: list[float] = []

    def drive(self, step: int) -> None:
        """Execute the command due at `step`; a robot without one stands."""
        command = self.stop
        if self.commands is not None:
            commands, first = self.commands
            if 0 <= step - first < len(commands):
                command = commands[step - first]
        self.executed.append(command)
        self.episode.step(command)

    def forget(self) -> None:
        """Stop and start anew, as the controller does after a fault."""
        self.previous = self.commands = None
        self.horizon.reset()


class TrialRunner:
    """Drives trials of one model and planner together."""

    def __init__(self, setup: Setup) -> None:
        """Prepare the action bounds."""
        self._setup = setup
        space, model = setup.space, setup.model
        like = torch.zeros((), dtype=model.dtype, device=model.device)

        def normal(command: NDArray[np.float64]) -> Tensor:
            held = np.tile(command, (space.frame_skip, 1))
            return to_tensor(space.normalise(held), like)

        self._low, self._high = normal(setup.limits.low), normal(setup.limits.high)
        self._stop = normal(np.zeros(space.size))
        self._period_ns = round(setup.config.model_dt * 1e9) // space.frame_skip

    def run(
        self,
        episodes: Sequence[EpisodeT],
        replan_every: int | None,
        most_solving_s: float = math.inf,
    ) -> list[Driven[EpisodeT]]:
        """Drive all episodes to their ends.

        Args:
            episodes: at their beginnings.
            replan_every: control periods between replans, whole model steps; None executes whole
                first plans.
            most_solving_s: seconds of solves after which an episode is given up.

        Raises:
            ValueError: if `replan_every` is not a number of whole model steps.
        """
        setup, skip = self._setup, self._setup.space.frame_skip
        if replan_every is not None and (replan_every < 1 or replan_every % skip):
            raise ValueError(
                f'replan_every is {replan_every}: it must be a multiple of the {skip} commands of '
                'a model step'
            )
        generator = torch.Generator(device=setup.model.device)
        generator.manual_seed(setup.config.seed)
        trials = [_Trial(episode, setup.config, setup.space.size) for episode in episodes]
        goals = setup.encode([episode.goal_image for episode in episodes])
        running = [index for index, trial in enumerate(trials) if not trial.episode.ended()]
        cut: set[int] = set()
        step = 0
        while running:
            there = [trials[index] for index in running]
            replans = step == 0 if replan_every is None else step % replan_every == 0
            # Frames in between matter only to models that look back.
            if replans or (setup.model.history > 1 and step % skip == 0):
                self._look(there)
            if setup.delay:
                _drive(there, step)
            if replans:
                self._replan(there, goals[running], step + setup.delay, generator)
                cut |= {i for i in running if sum(trials[i].times_s) > most_solving_s}
            if not setup.delay:
                _drive(there, step)
            step += 1
            running = [
                index for index in running if not trials[index].episode.ended() and index not in cut
            ]
        return [
            Driven(
                trial.episode,
                None if trial.previous is None else trial.previous[0],
                trial.iterations,
                tuple(trial.times_s),
                index in cut,
            )
            for index, trial in enumerate(trials)
        ]

    def _look(self, trials: Sequence[_Trial[Any]]) -> None:
        latents = self._setup.encode([trial.episode.observe() for trial in trials])
        for trial, latent in zip(trials, latents, strict=True):
            frames = trial.frames or [latent] * (self._setup.model.history - 1)
            trial.frames = [*frames, latent][-self._setup.model.history :]

    def _known_actions(self, trial: _Trial[Any], count: int) -> NDArray[np.float64]:
        """The last `count` model steps of commands as normalised actions (count, A)."""
        space = self._setup.space
        before = [trial.stop] * (count * space.frame_skip)
        commands = np.array([*before, *trial.executed][len(trial.executed) :])
        return space.normalise(commands.reshape(count, space.frame_skip, space.size))

    def _replan(
        self,
        trials: Sequence[_Trial[Any]],
        goals: Tensor,
        first: int,
        generator: torch.Generator,
    ) -> None:
        """Make the plans that act from the step `first` on, all of one horizon in one solve."""
        setup, history = self._setup, self._setup.model.history
        context = torch.stack([torch.stack(trial.frames) for trial in trials])
        with torch.no_grad():
            distances = setup.planner.distance(context[:, -1], goals)
        count = history - 1 + setup.delay
        actions = self._low.new_zeros(len(trials), 0, len(self._low))
        if count:
            known = np.stack([self._known_actions(trial, count) for trial in trials])
            actions = to_tensor(known, self._low)
        if setup.delay:
            with torch.no_grad():
                ahead = rollout(
                    setup.model, context, actions[:, : history - 1], actions[:, history - 1 :]
                )
            context = torch.cat([context, ahead], dim=1)[:, -history:]
            actions = actions[:, setup.delay :]
        for horizon, members in self._groups(trials, distances.tolist(), first).items():
            problem = PlanProblem(
                context=context[members],
                past_actions=actions[members],
                goal=goals[members],
                action_low=self._low,
                action_high=self._high,
                stop_action=self._stop,
                horizon=horizon[0],
                frame_skip=setup.space.frame_skip,
            )
            self._solve([trials[index] for index in members], problem, first, generator)

    def _groups(
        self, trials: Sequence[_Trial[Any]], distances: Sequence[float], first: int
    ) -> dict[tuple[int, bool], list[int]]:
        """Trials to plan for, by horizon and whether there is no plan to start from."""
        config = self._setup.config
        groups: dict[tuple[int, bool], list[int]] = {}
        for index, (trial, distance) in enumerate(zip(trials, distances, strict=True)):
            if not np.isfinite(distance):
                trial.forget()
                continue
            limit = config.released_distance if trial.reached else config.reached_distance
            trial.reached = distance < limit
            if trial.reached:
                trial.commands = None
                trial.horizon.reset()
                continue
            horizon = trial.horizon.next(first * self._period_ns, distance)
            groups.setdefault((horizon, trial.previous is None), []).append(index)
        return groups

    def _solve(
        self,
        trials: Sequence[_Trial[Any]],
        problem: PlanProblem,
        first: int,
        generator: torch.Generator,
    ) -> None:
        """Plan for trials of one group; `first` is the step at which the plans begin to act."""
        space = self._setup.space
        starts = []
        for trial in trials:
            if trial.previous is not None:
                plan, began = trial.previous
                shifted = shift(plan, (first - began) // space.frame_skip, self._stop)
                starts.append(resize(shifted, problem.horizon, self._stop))
        init = _joined(starts) if starts else None
        plans = self._setup.planner.plan(problem, init, generator=generator)
        commands = space.denormalise(to_numpy(plans.actions))
        for index, trial in enumerate(trials):
            plan = _row(plans, index)
            trial.iterations += plan.iterations
            trial.times_s.append(plan.solve_time_s)
            if not all(torch.isfinite(getattr(plan, name)).all() for name in FINITE):
                trial.forget()
                continue
            flat = commands[index].reshape(-1, space.size)
            limited, _ = apply_limits(flat, None, 0.0, self._setup.limits)
            trial.previous, trial.commands = (plan, first), (limited.value, first)


def _drive(trials: Sequence[_Trial[Any]], step: int) -> None:
    for trial in trials:
        trial.drive(step)


def _joined(plans: Sequence[Plan]) -> Plan:
    """Plans of one horizon as one of all their problems."""
    return _made(lambda name: torch.cat([getattr(plan, name) for plan in plans]), plans[0])


def _row(plans: Plan, index: int) -> Plan:
    """The plan of one of the problems."""
    return _made(lambda name: getattr(plans, name)[index : index + 1], plans)


def _made(tensor: Callable[[str], Tensor], like: Plan) -> Plan:
    return Plan(
        actions=tensor('actions'),
        states=tensor('states'),
        rollout=tensor('rollout'),
        terminal_cost=tensor('terminal_cost'),
        defect=tensor('defect'),
        iterations=like.iterations,
        solve_time_s=like.solve_time_s,
    )
