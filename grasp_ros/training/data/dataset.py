"""What training asks of a dataset, be it simulated or recorded, and how windows of it are drawn."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.sensors import Inputs


class Dataset(Protocol):
    """Episodes of pictures and the actions between them."""

    @property
    def episodes(self) -> int:
        """Number of episodes E."""
        ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Actions in each episode (E,): one less than its frames."""
        ...

    @property
    def action_dim(self) -> int:
        """Components A of a normalised action."""
        ...

    @property
    def inputs(self) -> Inputs:
        """What a model can see and feel of it."""
        ...

    def images(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Pictures (*S, 3, h, w) float in [0, 1] at index arrays of shape S.

        Of K > 1 cameras they are (*S, K, 3, h, w).
        """
        ...

    def felt(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Normalised proprioception (*S, Q) at index arrays of shape S; Q may be 0."""
        ...

    def actions(self, episodes: NDArray[np.int64], start: NDArray[np.int64], count: int) -> Tensor:
        """Normalised actions (N, count, A) that follow frames `start` (N,)."""
        ...

    def command_fractions(self) -> NDArray[np.float64]:
        """How fast each frame's command is, for each component, as a fraction of the fastest.

        Of all frames, episode after episode (N, R); zero for a robot that is to stand still, and
        after the last frame of an episode.
        """
        ...


def draw_windows(
    lengths: NDArray[np.int64], span: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw windows uniformly over all that lie within one episode.

    Args:
        lengths: actions in each episode (E,).
        span: actions in a window; 0 for single frames.
        count: windows N.
        rng: draws them.

    Returns:
        Episodes (N,) and first frames (N,).

    Raises:
        ValueError: if no episode is long enough.
    """
    starts = np.maximum(lengths - span + 1, 0)
    total = int(starts.sum())
    if not total:
        raise ValueError(
            f'windows of {span} steps are needed, but the longest episode has {lengths.max()}; '
            'record longer episodes, or shorten the windows with --span'
        )
    if (starts == starts[0]).all():
        # Not as below: so were the windows drawn of the models that come with the package.
        episodes = rng.integers(0, len(lengths), count)
        return episodes, rng.integers(0, starts[0], count)
    ends = starts.cumsum()
    number = rng.integers(0, total, count)
    episodes = np.searchsorted(ends, number, side='right')
    return episodes, number - (ends - starts)[episodes]


def frame_numbers(
    lengths: NDArray[np.int64], stride: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Episodes (N,) and steps (N,) of every frame, or of every `stride`-th, in order."""
    frames = lengths // stride + 1
    episodes = np.repeat(np.arange(len(lengths)), frames)
    first = frames.cumsum() - frames
    return episodes, stride * (np.arange(frames.sum()) - first[episodes])
