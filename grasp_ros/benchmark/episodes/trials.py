"""Many trials in lock step with their simulators: one encoding and one solve for all of them.

A trial is one episode in a simulator. The randomness is shared by all that run together; times of
their solves mean something only where one trial runs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

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

FINITE = ('actions', 'states', 'terminal_cost', 'defect')


class Trial(Protocol):
    """An episode of one robot, and its judge."""

    @property
    def goal_sight(self) -> Any:
        """What the model is shown of the goal, as a picture."""
        ...

    def sight(self) -> Any:
        """What the model is shown of now."""
        ...

    def drive(self, command: NDArray[np.float64]) -> None:
        """Execute a command (R,) in physical units for one control period."""
        ...

    def ended(self) -> bool:
        """Judge where the robot is now; whether the episode is over. Asked once each period."""
        ...


TrialT = TypeVar('TrialT', bound=Trial)


@dataclass(frozen=True, eq=False)
class Driven(Generic[TrialT]):
    """What became of a trial.

    Attributes:
        trial: at its end.
        plan: the last one made (B = 1), or None.
        iterations: of the optimiser in all solves.
        solve_times_s: of each solve, with all trials that it was for.
        cut: whether it was given up undecided, for want of time.
    """

    trial: TrialT
    plan: Plan | None
    iterations: int
    solve_times_s: tuple[float, ...]
    cut: bool


@dataclass(frozen=True, eq=False)
class Setup:
    """What drives the trials.

    Attributes:
        model: the world model.
        planner: built for the model.
        config: the policy, with what the model's manifest says of times and distances.
        space: of the model's actions, which stop with zero.
        limits: of commands.
        encode: sights (B) to latents (B, *Z), without gradients.
        delay: model steps, 0 or 1, from a picture to the first action of the plan made from it.
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


class _Robot(Generic[TrialT]):
    """A trial, and what is carried from one replan to the next."""

    def __init__(self, trial: TrialT, config: ControllerConfig, size: int) -> None:
        self.trial = trial
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
        self.trial.drive(command)

    def forget(self) -> None:
        """Stop and start anew, as the controller does after a fault."""
        self.previous = self.commands = None
        self.horizon.renew()


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
        trials: Sequence[TrialT],
        replan_every: int | None,
        most_solving_s: float = math.inf,
    ) -> list[Driven[TrialT]]:
        """Drive all trials to their ends.

        Args:
            trials: at their beginnings.
            replan_every: control periods between replans, whole model steps; None executes whole
                first plans.
            most_solving_s: seconds of solves after which a trial is given up.

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
        robots = [_Robot(trial, setup.config, setup.space.size) for trial in trials]
        goals = setup.encode([trial.goal_sight for trial in trials])
        running = [index for index, robot in enumerate(robots) if not robot.trial.ended()]
        cut: set[int] = set()
        step = 0
        while running:
            there = [robots[index] for index in running]
            replans = step == 0 if replan_every is None else step % replan_every == 0
            # Frames in between matter only to models that look back.
            if replans or (setup.model.history > 1 and step % skip == 0):
                self._look(there)
            if setup.delay:
                _drive(there, step)
            if replans:
                self._replan(there, goals[running], step + setup.delay, generator)
                cut |= {i for i in running if sum(robots[i].times_s) > most_solving_s}
            if not setup.delay:
                _drive(there, step)
            step += 1
            running = [
                index for index in running if not robots[index].trial.ended() and index not in cut
            ]
        return [
            Driven(
                robot.trial,
                None if robot.previous is None else robot.previous[0],
                robot.iterations,
                tuple(robot.times_s),
                index in cut,
            )
            for index, robot in enumerate(robots)
        ]

    def _look(self, robots: Sequence[_Robot[Any]]) -> None:
        latents = self._setup.encode([robot.trial.sight() for robot in robots])
        for robot, latent in zip(robots, latents, strict=True):
            frames = robot.frames or [latent] * (self._setup.model.history - 1)
            robot.frames = [*frames, latent][-self._setup.model.history :]

    def _known_actions(self, robot: _Robot[Any], count: int) -> NDArray[np.float64]:
        """The last `count` model steps of commands as normalised actions (count, A)."""
        space = self._setup.space
        before = [robot.stop] * (count * space.frame_skip)
        commands = np.array([*before, *robot.executed][len(robot.executed) :])
        return space.normalise(commands.reshape(count, space.frame_skip, space.size))

    def _replan(
        self,
        robots: Sequence[_Robot[Any]],
        goals: Tensor,
        first: int,
        generator: torch.Generator,
    ) -> None:
        """Make the plans that act from the step `first` on, all of one horizon in one solve."""
        setup, history = self._setup, self._setup.model.history
        context = torch.stack([torch.stack(robot.frames) for robot in robots])
        with torch.no_grad():
            distances = setup.planner.distance(context[:, -1], goals)
        count = history - 1 + setup.delay
        actions = self._low.new_zeros(len(robots), 0, len(self._low))
        if count:
            known = np.stack([self._known_actions(robot, count) for robot in robots])
            actions = to_tensor(known, self._low)
        if setup.delay:
            with torch.no_grad():
                ahead = rollout(
                    setup.model, context, actions[:, : history - 1], actions[:, history - 1 :]
                )
            context = torch.cat([context, ahead], dim=1)[:, -history:]
            actions = actions[:, setup.delay :]
        for horizon, members in self._groups(robots, distances.tolist(), first).items():
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
            self._solve([robots[index] for index in members], problem, first, generator)

    def _groups(
        self, robots: Sequence[_Robot[Any]], distances: Sequence[float], first: int
    ) -> dict[tuple[int, bool], list[int]]:
        """Who is planned for, by horizon and whether there is no plan to start from."""
        config = self._setup.config
        groups: dict[tuple[int, bool], list[int]] = {}
        for index, (robot, distance) in enumerate(zip(robots, distances, strict=True)):
            if not np.isfinite(distance):
                robot.forget()
                continue
            limit = config.released_distance if robot.reached else config.reached_distance
            robot.reached = distance < limit
            if robot.reached:
                robot.commands = None
                robot.horizon.renew()
                continue
            horizon = robot.horizon.next(first * self._period_ns, distance)
            groups.setdefault((horizon, robot.previous is None), []).append(index)
        return groups

    def _solve(
        self,
        robots: Sequence[_Robot[Any]],
        problem: PlanProblem,
        first: int,
        generator: torch.Generator,
    ) -> None:
        """Plan for robots of one group; `first` is the step at which the plans begin to act."""
        space = self._setup.space
        starts = []
        for robot in robots:
            if robot.previous is not None:
                plan, began = robot.previous
                shifted = shift(plan, (first - began) // space.frame_skip, self._stop)
                starts.append(resize(shifted, problem.horizon, self._stop))
        init = _joined(starts) if starts else None
        plans = self._setup.planner.plan(problem, init, generator=generator)
        commands = space.denormalise(to_numpy(plans.actions))
        for index, robot in enumerate(robots):
            plan = _row(plans, index)
            robot.iterations += plan.iterations
            robot.times_s.append(plan.solve_time_s)
            if not all(torch.isfinite(getattr(plan, name)).all() for name in FINITE):
                robot.forget()
                continue
            flat = commands[index].reshape(-1, space.size)
            limited, _ = apply_limits(flat, None, 0.0, self._setup.limits)
            robot.previous, robot.commands = (plan, first), (limited.value, first)


def _drive(robots: Sequence[_Robot[Any]], step: int) -> None:
    for robot in robots:
        robot.drive(step)


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
