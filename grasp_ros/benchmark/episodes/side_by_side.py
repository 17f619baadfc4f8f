"""Many episodes in rooms in lock step: one encoding and one solve for all, to measure success.

Each episode goes as `grasp_ros.sim.closed_loop.drive` lets it go with a controller of its own: a
plan acts one period after its image, is made from where the model says the robot will be by then,
and starts from the previous plan. Only the randomness is shared by all episodes. Times of these
solves mean nothing; `timing` measures those.
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
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.planning.protocol import Planner
from grasp_ros.sim.rooms.episodes import RoomsEpisode, RoomsSimulation
from grasp_ros.sim.success import EpisodeResult, Rules


@dataclass(frozen=True, eq=False)
class SideBySideRun:
    """One of the episodes that were driven side by side.

    Attributes:
        result: of the episode.
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
                ImageEncoder(model, manifest),
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
        whole = replan_every is None
        # A plan's first action is due one step after its image.
        budget = self._config.horizon + 1
        episodes = [
            RoomsSimulation(
                task.world, task.episode, Rules(budget if whole else task.budget), whole
            )
            for task in tasks
        ]
        return [self._run(driven) for driven in self._runner.run(episodes, replan_every)]

    def _run(self, driven: Driven[RoomsSimulation]) -> SideBySideRun:
        imagined = False
        if driven.plan is not None:
            steps = self._tolerance_px / driven.episode.world.pixels_per_step
            # A squared error grows with the square of the way, a time with the way itself.
            power = 2 if self._planner.distance.kind == 'latent' else 1
            imagined = float(driven.plan.terminal_cost[0]) <= steps**power * self._one_step
        return SideBySideRun(
            driven.episode.monitor.result(),
            np.stack(driven.episode.positions),
            imagined,
            len(driven.solve_times_s),
            driven.iterations,
        )


class ImageEncoder:
    """Latents of camera images."""

    def __init__(self, model: WorldModel, manifest: Manifest) -> None:
        """Encode with `model` what the manifest's image pipeline makes of images."""
        self._model = model
        self._preprocess = preprocessor(manifest)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images (B) of (h, w, 3) uint8 RGB to latents (B, *Z)."""
        pixels = np.stack([self._preprocess(image) for image in images])
        inputs = torch.from_numpy(pixels)[:, None].to(self._model.device, self._model.dtype)
        return self._model.encode(Observation(inputs))[:, 0]
