"""Motion in the simulated tasks as a dataset, random or on-policy; images are rendered late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.models.sensors import CAMERA, SensorSpec
from grasp_ros.sim.motion import MotionData, collect, collect_layouts
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, paint_robots
from grasp_ros.training.data.dataset import Description, RecordedAction
from grasp_ros.training.on_policy import drive
from grasp_ros.training.recipes import TrainConfig

ON_POLICY_EPISODES_EACH = 4
LAYOUT_STREAM, ON_POLICY_STREAM = 7, 11
"""Tell the randomness of the worlds from that of the motion."""


class MotionDataset:
    """Random motion in a simulated task; pictures are rendered on demand (all: gigabytes)."""

    def __init__(
        self, worlds: Sequence[WalledWorld], motion: MotionData, action_std: float
    ) -> None:
        """Wrap recorded motion.

        Args:
            worlds: one for each of the motion's layouts.
            motion: positions and actions.
            action_std: actions are divided by it, m/s.
        """
        self.worlds = tuple(worlds)
        self.motion = motion
        self.action_std = action_std
        self._backgrounds = np.stack([world.background() for world in self.worlds])

    @property
    def episodes(self) -> int:
        """Number of episodes E."""
        return self.motion.actions.shape[0]

    @property
    def length(self) -> int:
        """Actions in each episode L."""
        return self.motion.actions.shape[1]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Actions in each episode (E,), all the same."""
        return np.full(self.episodes, self.length)

    @property
    def action_dim(self) -> int:
        """Components of an action."""
        return self.motion.actions.shape[2]

    @property
    def episodes_each(self) -> int:
        """Episodes in a row that are of the same world."""
        return self.episodes // len(self.worlds)

    def images(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Pictures (*S, 3, h, w) float in [0, 1] at index arrays of shape S."""
        positions = self.motion.positions[episodes, steps]
        pictures = self._backgrounds[(episodes // self.episodes_each).reshape(-1)]
        paint_robots(pictures, positions.reshape(-1, 2), self.worlds[0].robot_radius)
        tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
        return tensor.unflatten(0, positions.shape[:-1])

    @property
    def description(self) -> Description:
        """Commands, images and rates, as a recorded dataset describes them."""
        space, (height, width) = self.action_space, self._backgrounds.shape[1:3]
        return Description(
            action=RecordedAction(
                kind=space.kind,
                names=list(space.names),
                units=list(space.units),
                low=space.low.tolist(),
                high=space.high.tolist(),
            ),
            image=ImagePipeline(height=height, width=width),
            cameras=[CAMERA],
            model_dt=self.worlds[0].control_period,
        )

    @property
    def action_space(self) -> ActionSpace:
        """Velocities within the robot's limits."""
        limit = self.worlds[0].max_speed
        return ActionSpace(
            kind=ActionKind.VELOCITY,
            names=('linear.x', 'linear.y'),
            units=('m/s', 'm/s'),
            low=np.full(2, -limit),
            high=np.full(2, limit),
            mean=np.zeros(2),
            std=np.full(2, self.action_std),
            frame_skip=1,
        )

    @property
    def inputs(self) -> SensorSpec:
        """One camera."""
        return SensorSpec()

    def normalised_proprioception(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Tensor:
        """Nothing (*S, 0)."""
        return torch.empty(*np.shape(steps), 0)

    def pixels(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """True robot positions (*S, 2) in px: for judging, never for training the model."""
        return self.motion.positions[episodes, steps] / METRES_PER_PIXEL

    def actions(self, episodes: NDArray[np.int64], start: NDArray[np.int64], count: int) -> Tensor:
        """Normalised actions (N, count, A) that follow steps `start` (N,)."""
        steps = start[:, None] + np.arange(count)
        chosen = self.motion.actions[episodes[:, None], steps]
        return torch.from_numpy(chosen / self.action_std).float()

    def command_fractions(self) -> NDArray[np.float64]:
        """Velocities of all frames (N, 2) over the greatest; zero after an episode's last."""
        fractions = self.motion.actions / self.worlds[0].max_speed
        padded = np.concatenate([fractions, np.zeros_like(fractions[:, :1])], axis=1)
        return padded.reshape(-1, fractions.shape[-1])


def record(
    config: TrainConfig,
    layouts: int,
    episodes: int,
    length: int,
    seed: int,
    action_std: float | None = None,
) -> MotionDataset:
    """Random motion in worlds drawn for this seed.

    Args:
        config: of the task.
        layouts: worlds to draw.
        episodes: of all worlds together.
        length: actions of an episode.
        seed: of all randomness.
        action_std: actions are divided by it, m/s; None for their own standard deviation.
    """
    task = ROOMS[config.task]
    rng = np.random.default_rng([seed, LAYOUT_STREAM])
    worlds = [task.draw(rng) for _ in range(layouts)]
    if layouts == 1:
        motion = collect(worlds[0], episodes, length, seed)
    else:
        motion = collect_layouts(worlds, episodes // layouts, length, seed, config.near_door)
    return MotionDataset(worlds, motion, action_std or float(motion.actions.std()))


def record_on_policy(
    config: TrainConfig, model: CompactModel, action_std: float
) -> MotionDataset:
    """Episodes that the model itself drives, in worlds that it has not seen."""
    task = ROOMS[config.task]
    rng = np.random.default_rng([config.seed, ON_POLICY_STREAM])
    layouts = min(config.layouts, max(1, config.on_policy_episodes // ON_POLICY_EPISODES_EACH))
    worlds = [task.draw(rng) for _ in range(layouts)]
    each = max(1, config.on_policy_episodes // layouts)
    motion = drive(model, worlds, each, config.length, config.seed, action_std)
    return MotionDataset(worlds, motion, action_std)
