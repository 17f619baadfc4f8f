"""Latents of every frame of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.data.dataset import Dataset, frame_numbers

CHUNK = 2048


@dataclass(frozen=True, eq=False)
class EpisodeLatents:
    """Latents of episodes that may differ in length.

    Attributes:
        flat: (N, D) of every frame, episode after episode.
        lengths: (E,) actions in each episode, one less than its frames.
    """

    flat: Tensor
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, latents: Tensor) -> EpisodeLatents:
        """Latents of episodes of one length (E, L + 1, D)."""
        episodes, frames = latents.shape[:2]
        return cls(latents.flatten(0, 1), np.full(episodes, frames - 1))

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Row of the first frame of each episode (E,)."""
        frames = self.lengths + 1
        return np.asarray(frames.cumsum() - frames, np.int64)

    def at(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Latents (*S, D) at index arrays of shape S."""
        return self.flat[torch.from_numpy(self.first[episodes] + steps)]

    def stacked(self) -> Tensor:
        """(E, L + 1, D) of episodes of one length.

        Raises:
            ValueError: if their lengths differ.
        """
        if (self.lengths != self.lengths[0]).any():
            raise ValueError('the episodes differ in length')
        return self.flat.unflatten(0, (len(self.lengths), -1))


def embed(
    model: CompactModel,
    dataset: Dataset,
    episodes: NDArray[np.int64],
    steps: NDArray[np.int64],
    images: Tensor | None = None,
) -> Tensor:
    """Latents (*S, D) of the frames at index arrays of shape S, with gradients.

    Args:
        model: its encoder is used.
        dataset: what the frames are of.
        episodes: of the frames.
        steps: within the episodes.
        images: as `dataset.images` gives them, where they are at hand or differ from those.
    """
    if images is None:
        images = dataset.images(episodes, steps)
    frames = np.ndim(steps)
    flat = images.reshape(-1, *images.shape[frames:]).to(model.device)
    proprioception = None
    if model.config.proprioception:
        proprioception = dataset.normalised_proprioception(episodes, steps)
        proprioception = proprioception.reshape(len(flat), -1).to(model.device)
    return model.embed(flat, proprioception).float().unflatten(0, np.shape(steps))


@torch.no_grad()
def encode_all(model: CompactModel, dataset: Dataset, stride: int = 1) -> EpisodeLatents:
    """Encode every frame, or every `stride`-th of each episode."""
    episodes, steps = frame_numbers(dataset.lengths, stride)
    parts = [
        embed(model, dataset, episodes[first : first + CHUNK], steps[first : first + CHUNK])
        for first in range(0, len(episodes), CHUNK)
    ]
    return EpisodeLatents(torch.cat(parts), dataset.lengths // stride)
