"""Many episodes in lock step: one encoding and one solve for all of them, to measure success.

Each episode goes as `episodes.run_episode` lets it go with a controller of its own: a plan acts one
period after its picture, is made from where the model says the robot will be by then, and starts
from the previous plan. Only the randomness is shared by all episodes. Times of these solves mean
nothing; `timing` measures those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.benchmark.judge import EpisodeJudge, EpisodeResult, FinalJudge, Rules
from grasp_ros.control import model_limits, one_step_distance, policy_for, preprocessor
from grasp_ros.core.config import ControllerConfig
from grasp_ros.core.context import Picture
from grasp_ros.core.horizon import PlanHorizon
from grasp_ros.core.limits import apply_limits
from grasp_ros.core.planner import Planner
from grasp_ros.core.types import ActionKind, Observation, Plan, PlanProblem, to_numpy, to_tensor
from grasp_ros.core.warm_start import resize, shift
from grasp_ros.core.world_model import WorldModel, rollout
from grasp_ros.models.checkpoint import Manifest
from grasp_ros.sim.tasks import TaskEpisode
from grasp_ros.sim.walled_world import METRES_PER_PIXEL

FINITE = ('actions', 'states', 'terminal_cost', 'defect')


@dataclass(frozen=True, eq=False)
class SideBySideRun:
    """What became of one of the episodes.

    Attributes:
        result: the verdict.
        positions: (S + 1, 2) in metres, where the robot was at each step.
        imagined: whether the last plan's rollout ended at the goal: its goal distance is at most
            that of the tolerance, by the manifest's calibration of one step of motion.
        solves: made for it.
        iterations: of the optimiser in all of them.
    """

    result: EpisodeResult
    positions: NDArray[np.float64]
    imagined: bool
    solves: int
    iterations: int


class _Robot:
    """One episode: its judge, its robot, and what is carried from one replan to the next."""

    def __init__(self, task: TaskEpisode, config: ControllerConfig, open_loop: bool) -> None:
        episode = task.episode
        goal_px = episode.goal / METRES_PER_PIXEL
        self.world = task.world
        self.goal_picture = task.world.render(episode.goal[None])[0]
        self.judge: EpisodeJudge | FinalJudge
        if open_loop:
            # The plan's first action is due one step after its picture.
            rules = Rules(budget=config.horizon + 1)
            self.judge = FinalJudge(episode.seed, episode.through_door, goal_px, rules)
        else:
            rules = Rules(budget=task.budget)
            self.judge = EpisodeJudge(episode.seed, episode.through_door, goal_px, rules)
        self.positions = [episode.start]
        self.horizon = PlanHorizon(config)
        self.reached = False
        self.previous: tuple[Plan, int] | None = None
        self.commands: tuple[NDArray[np.float64], int] | None = None
        self.in_force = np.zeros(2)
        self.solves = 0
        self.iterations = 0

    def picture(self) -> Picture:
        return self.world.render(self.positions[-1][None])[0]

    def drive(self, step: int) -> None:
        """Execute the command due at `step`; a robot without one stands."""
        self.in_force = np.zeros(2)
        if self.commands is not None:
            commands, first = self.commands
            if 0 <= step - first < len(commands):
                self.in_force = commands[step - first]
        here, world = self.positions[-1][None], self.world
        moved = world.advance(here, self.in_force[None], world.control_period)
        self.positions.append(moved[0])

    def ended(self) -> bool:
        return self.judge.update(self.positions[-1] / METRES_PER_PIXEL)


class SideBySide:
    """Drives episodes of one model and planner together."""

    def __init__(
        self,
        model: WorldModel,
        manifest: Manifest,
        planner: Planner,
        config: ControllerConfig,
        goal_tolerance: float,
        tolerance_px: float = Rules.tolerance_px,
    ) -> None:
        """Prepare; what the manifest says replaces what `config` says of it.

        Args:
            model: the world model.
            manifest: of the model.
            planner: built for the model.
            config: the policy; of its times, only those of the horizon matter here.
            goal_tolerance: as in `control.build_controller`.
            tolerance_px: within which a plan's end counts as at the goal.

        Raises:
            ValueError: if the model needs more than one frame, or its actions are not velocities
                of one command each.
        """
        space = manifest.action_space
        if model.history != 1 or space.frame_skip != 1 or space.kind is not ActionKind.VELOCITY:
            raise ValueError(
                'episodes run side by side only with models of one frame of history and one '
                'velocity command a step'
            )
        self._model = model
        self._planner = planner
        self._config = policy_for(manifest, planner.distance, config, goal_tolerance)
        self._preprocess = preprocessor(manifest)
        self._space = space
        self._limits = model_limits(manifest)
        self._one_step = one_step_distance(manifest, planner.distance)
        self._tolerance_px = tolerance_px
        like = torch.zeros((), dtype=model.dtype, device=model.device)
        self._low = to_tensor(space.normalise(self._limits.low[None]), like)
        self._high = to_tensor(space.normalise(self._limits.high[None]), like)
        self._stop = to_tensor(space.normalise(np.zeros((1, space.size))), like)
        self._step_ns = round(manifest.model_dt * 1e9)

    def run(
        self, tasks: Sequence[TaskEpisode], replan_every: int | None
    ) -> list[SideBySideRun]:
        """Drive all episodes to their ends.

        Args:
            tasks: the episodes.
            replan_every: control periods between replans; None executes whole first plans, judged
                by where the robot is at their end.
        """
        generator = torch.Generator(device=self._model.device)
        generator.manual_seed(self._config.seed)
        robots = [_Robot(task, self._config, replan_every is None) for task in tasks]
        goals = self._encode([robot.goal_picture for robot in robots])
        running = [index for index, robot in enumerate(robots) if not robot.ended()]
        step = 0
        while running:
            replans = step == 0 if replan_every is None else step % replan_every == 0
            pictures = [robots[index].picture() for index in running] if replans else []
            for index in running:
                robots[index].drive(step)
            if replans:
                there = [robots[index] for index in running]
                self._replan(there, self._encode(pictures), goals[running], step, generator)
            step += 1
            running = [index for index in running if not robots[index].ended()]
        return [
            self._run(robot, task)
            for robot, task in zip(robots, tasks, strict=True)
        ]

    def _run(self, robot: _Robot, task: TaskEpisode) -> SideBySideRun:
        imagined = False
        if robot.previous is not None:
            steps = self._tolerance_px / task.world.pixels_per_step
            # A squared error grows with the square of the way, a time with the way itself.
            power = 2 if self._planner.distance.kind == 'latent' else 1
            imagined = float(robot.previous[0].terminal_cost[0]) <= steps**power * self._one_step
        return SideBySideRun(
            robot.judge.result(),
            np.stack(robot.positions),
            imagined,
            robot.solves,
            robot.iterations,
        )

    def _encode(self, pictures: Sequence[Picture]) -> Tensor:
        """Latents (B, *Z)."""
        pixels = np.stack([self._preprocess(picture) for picture in pictures])
        images = torch.from_numpy(pixels)[:, None].to(self._model.device, self._model.dtype)
        return self._model.encode(Observation(images))[:, 0]

    def _replan(
        self,
        robots: Sequence[_Robot],
        latents: Tensor,
        goals: Tensor,
        step: int,
        generator: torch.Generator,
    ) -> None:
        """Make the plans that act from the next step on, all of one horizon in one solve."""
        with torch.no_grad():
            distances = self._planner.distance.to_goal(latents, goals)
        commanded = np.stack([robot.in_force for robot in robots])
        actions = to_tensor(self._space.normalise(commanded[:, None]), self._low)[:, None]
        with torch.no_grad():
            context = rollout(self._model, latents[:, None], actions[:, :0], actions)
        groups: dict[tuple[int, bool], list[int]] = {}
        for index, (robot, distance) in enumerate(zip(robots, distances.tolist(), strict=True)):
            if not np.isfinite(distance):
                _forget(robot)
                continue
            limit = self._config.released_distance if robot.reached else (
                self._config.reached_distance
            )
            robot.reached = distance < limit
            if robot.reached:
                robot.commands = None
                robot.horizon.renew()
                continue
            horizon = robot.horizon.next((step + 1) * self._step_ns, distance)
            groups.setdefault((horizon, robot.previous is None), []).append(index)
        for (horizon, _), members in groups.items():
            problem = PlanProblem(
                context=context[members],
                past_actions=actions[members][:, :0],
                goal=goals[members],
                action_low=self._low,
                action_high=self._high,
                stop_action=self._stop,
                horizon=horizon,
            )
            self._solve([robots[index] for index in members], problem, step + 1, generator)

    def _solve(
        self,
        robots: Sequence[_Robot],
        problem: PlanProblem,
        first: int,
        generator: torch.Generator,
    ) -> None:
        """Plan for robots of one group; `first` is the step at which the plans begin to act."""
        starts = []
        for robot in robots:
            if robot.previous is not None:
                plan, began = robot.previous
                starts.append(resize(shift(plan, first - began, self._stop), problem.horizon,
                                     self._stop))
        init = _joined(starts) if starts else None
        plans = self._planner.plan(problem, init, generator=generator)
        commands = self._space.denormalise(to_numpy(plans.actions))[:, :, 0]
        for index, robot in enumerate(robots):
            plan = _row(plans, index)
            robot.solves += 1
            robot.iterations += plan.iterations
            if not all(torch.isfinite(getattr(plan, name)).all() for name in FINITE):
                _forget(robot)
                continue
            limited, _ = apply_limits(commands[index], None, 0.0, self._limits)
            robot.previous, robot.commands = (plan, first), (limited.value, first)


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


def _forget(robot: _Robot) -> None:
    """Stop and start anew, as the controller does after a fault."""
    robot.previous = robot.commands = None
    robot.horizon.renew()
