"""Calibrate a trained model on recorded motion: what its goal distances mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.calibration import Calibration, DistanceCurve
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.planning.objective import goal_distance
from grasp_ros.training.data.dataset import Dataset, draw_windows, frame_numbers
from grasp_ros.training.losses.latents import EpisodeLatents, embed

MAX_DISTANCE = 10
MAX_PAIRS = 20000
STANDING_PLACES = 1000
SENSOR_NOISE = 2.0 / 255
"""Standard deviation of a camera's noise in [0, 1]: the simulator's pictures have none."""

Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Standing:
    """Latents (N, D) of robots that stand still.

    Attributes:
        first: of a picture with the camera's noise.
        second: of another of the same place.
        near: of the next picture of the recorded motion.
        far: of any picture of the same episode.
    """

    first: Tensor
    second: Tensor
    near: Tensor
    far: Tensor


@torch.no_grad()
def calibrate(
    model: CompactModel, latents: EpisodeLatents, dataset: Dataset, rng: np.random.Generator
) -> Calibration:
    """Measure how goal distances grow with the steps between two pictures.

    Args:
        model: trained.
        latents: of every frame of `dataset`.
        dataset: recorded motion.
        rng: of the sensor's noise and of what is chosen.
    """
    standing = picture_twice(model, latents, dataset, rng)

    def curve(distance: Distance) -> DistanceCurve:
        return distance_curve(distance, latents, dataset, standing)

    latent = curve(goal_distance(model, 'latent'))
    time_to_reach = curve(model.time_to_reach)
    return Calibration(
        one_step_latent=latent.median[1],
        # An untrained head may call neighbours the same place.
        one_step_time_to_reach=time_to_reach.median[1] or None,
        latent=latent,
        time_to_reach=time_to_reach,
    )


def distance_curve(
    distance: Distance,
    latents: EpisodeLatents,
    dataset: Dataset,
    standing: Standing,
) -> DistanceCurve:
    """Quantiles of a distance for each number of steps apart.

    Args:
        distance: of latents (N, D) to goals (N, D).
        latents: of every frame.
        dataset: what they are of.
        standing: as `picture_twice` makes it.

    Raises:
        ValueError: if no motion was recorded.
    """
    apart = [distance(standing.first, standing.second)]
    fractions = dataset.command_fractions()
    for steps in range(1, min(MAX_DISTANCE, int(latents.lengths.max())) + 1):
        first = torch.from_numpy(steady_starts(fractions, latents.lengths, steps)[:MAX_PAIRS])
        if not len(first):
            break
        apart.append(distance(latents.flat[first], latents.flat[first + steps]))
    if len(apart) < 2:
        raise ValueError('the recorded robot hardly moves: there is nothing to calibrate by')
    median, high = (
        [_quantile(distances, level) for distances in apart] for level in (0.5, 0.95)
    )
    near, far = (
        (distance(standing.first, goal), distance(standing.second, goal))
        for goal in (standing.near, standing.far)
    )
    # Close to the goal a fraction says nothing: there the noise alone counts.
    away = torch.minimum(*far) > high[1]
    if not away.any():
        away[:] = True
    ratio = (far[0] - far[1]).abs()[away] / torch.maximum(*far)[away].clamp(min=1e-12)
    return DistanceCurve(
        steps=list(range(len(apart))),
        median=median,
        high=high,
        noise=_quantile((near[0] - near[1]).abs(), 0.99),
        noise_ratio=_quantile(ratio, 0.99),
    )


def steady_starts(
    fractions: NDArray[np.float64], lengths: NDArray[np.int64], steps: int
) -> NDArray[np.int64]:
    """Where the robot was told to move on in one direction: numbers of the first frames.

    Args:
        fractions: of the fastest commands (N, R), as a dataset gives them.
        lengths: actions in each episode.
        steps: commands in a row that must hardly differ and be faster than half of it.
    """
    windows = np.lib.stride_tricks.sliding_window_view(fractions, steps, axis=0)
    mean = windows.mean(axis=-1)
    steady = np.abs(windows - mean[..., None]).max(axis=(-2, -1)) < 0.25
    moving = np.abs(mean).max(axis=-1) > 0.5
    _, step = frame_numbers(lengths)
    within = step + steps <= np.repeat(lengths, lengths + 1)
    return np.flatnonzero(steady & moving & within[: len(steady)])


@torch.no_grad()
def picture_twice(
    model: CompactModel, latents: EpisodeLatents, dataset: Dataset, rng: np.random.Generator
) -> Standing:
    """Picture places of the recorded motion twice, as a camera with noise does."""
    count = min(STANDING_PLACES, int(dataset.lengths.sum()))
    episode, step = draw_windows(dataset.lengths, 1, count, rng)
    images = dataset.images(episode, step)

    def noisy() -> Tensor:
        noise = rng.normal(0.0, SENSOR_NOISE, images.shape).astype(np.float32)
        seen = (images + torch.from_numpy(noise)).clamp(0, 1)
        return embed(model, dataset, episode, step, seen)

    other = rng.integers(0, dataset.lengths[episode] + 1)
    return Standing(noisy(), noisy(), latents.at(episode, step + 1), latents.at(episode, other))


def _quantile(values: Tensor, level: float) -> float:
    """To four digits: manifests are read by people."""
    return float(f'{float(values.quantile(level)):.4g}')
