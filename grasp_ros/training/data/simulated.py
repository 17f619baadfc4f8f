"""Batches of pictures and actions from recorded motion, rendered when they are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.sensors import SensorSpec
from grasp_ros.sim.motion import MotionData
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, paint_robots


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
    def inputs(self) -> SensorSpec:
        """One camera."""
        return SensorSpec()

    def felt(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
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
