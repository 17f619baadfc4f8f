"""Many episodes in rooms in lock step: one encoding and one solve for all, to measure success.

Each episode goes as `episodes.run_episode` lets it go with a controller of its own: a plan acts one
period after its picture, is made from where the model says the robot will be by then, and starts
from the previous plan. Only the randomness is shared by all episodes. Times of these solves mean
nothing; `timing` measures those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.benchmark.episodes.trials import Driven, Setup, TrialRunner
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import model_limits, one_step_distance, policy_for, preprocessor
from grasp_ros.control.observation import Picture
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.planning.protocol import Planner
from grasp_ros.sim.rooms.episodes import RoomsEpisode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import EndMonitor, EpisodeResult, ReachMonitor, Rules


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


class _WalledTrial:
    """One episode in rooms: its judge and its robot."""

    def __init__(self, task: RoomsEpisode, horizon: int, open_loop: bool) -> None:
        episode = task.episode
        goal_px = episode.goal / METRES_PER_PIXEL
        self.world = task.world
        self.goal_sight = task.world.render(episode.goal[None])[0]
        self.judge: ReachMonitor | EndMonitor
        if open_loop:
            # The plan's first action is due one step after its picture.
            rules = Rules(budget=horizon + 1)
            self.judge = EndMonitor(episode.seed, episode.through_door, goal_px, rules)
        else:
            rules = Rules(budget=task.budget)
            self.judge = ReachMonitor(episode.seed, episode.through_door, goal_px, rules)
        self.positions = [episode.start]

    def sight(self) -> Picture:
        return self.world.render(self.positions[-1][None])[0]

    def drive(self, command: NDArray[np.float64]) -> None:
        here, world = self.positions[-1][None], self.world
        self.positions.append(world.advance(here, command[None], world.control_period)[0])

    def ended(self) -> bool:
        return self.judge.update(self.positions[-1] / METRES_PER_PIXEL)


class BatchedEpisodes:
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
            ValueError: if the actions of the model are not velocities of one command each.
        """
        space = manifest.action_space
        if space.kind is not ActionKind.VELOCITY:
            raise ValueError('episodes in rooms are driven by velocities')
        self._planner = planner
        self._config = policy_for(manifest, planner.distance, config, goal_tolerance)
        self._one_step = one_step_distance(manifest, planner.distance)
        self._tolerance_px = tolerance_px
        self._runner = TrialRunner(
            Setup(
                model,
                planner,
                self._config,
                space,
                model_limits(manifest),
                PictureEncoder(model, manifest),
                delay=1,
            )
        )

    def run(
        self, tasks: Sequence[RoomsEpisode], replan_every: int | None
    ) -> list[SideBySideRun]:
        """Drive all episodes to their ends.

        Args:
            tasks: the episodes.
            replan_every: control periods between replans; None executes whole first plans, judged
                by where the robot is at their end.
        """
        trials = [_WalledTrial(task, self._config.horizon, replan_every is None) for task in tasks]
        return [self._run(driven) for driven in self._runner.run(trials, replan_every)]

    def _run(self, driven: Driven[_WalledTrial]) -> SideBySideRun:
        imagined = False
        if driven.plan is not None:
            steps = self._tolerance_px / driven.trial.world.pixels_per_step
            # A squared error grows with the square of the way, a time with the way itself.
            power = 2 if self._planner.distance.kind == 'latent' else 1
            imagined = float(driven.plan.terminal_cost[0]) <= steps**power * self._one_step
        return SideBySideRun(
            driven.trial.judge.result(),
            np.stack(driven.trial.positions),
            imagined,
            len(driven.solve_times_s),
            driven.iterations,
        )


class PictureEncoder:
    """Latents of camera pictures."""

    def __init__(self, model: WorldModel, manifest: Manifest) -> None:
        """Encode with `model` what the manifest's image pipeline makes of pictures."""
        self._model = model
        self._preprocess = preprocessor(manifest)

    def __call__(self, pictures: Sequence[Picture]) -> Tensor:
        """Pictures (B) of (h, w, 3) uint8 RGB to latents (B, *Z)."""
        pixels = np.stack([self._preprocess(picture) for picture in pictures])
        images = torch.from_numpy(pixels)[:, None].to(self._model.device, self._model.dtype)
        return self._model.encode(Observation(images))[:, 0]
