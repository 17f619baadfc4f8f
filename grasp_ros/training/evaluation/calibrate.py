"""Calibration of a trained model on recorded motion; as a command, of a model that is there.

`python -m grasp_ros.training.evaluation.calibrate --model FOLDER` changes the manifest, not the
weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.image_checks import reconstruction_error
from grasp_ros.models.calibration import ONE_STEP, Calibration, DistanceCurve
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_compact, write_manifest
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.planning.objective import goal_distance
from grasp_ros.training.data.dataset import Dataset, draw_windows, frame_numbers
from grasp_ros.training.data.simulated import record
from grasp_ros.training.losses.latents import EpisodeLatents, embed, encode_all
from grasp_ros.training.recipes import RECIPES

MAX_DISTANCE = 10
MAX_PAIRS = 20000
STANDING_PLACES = 1000
SENSOR_NOISE = 2.0 / 255
"""Standard deviation of a camera's noise in [0, 1]: the simulator's images have none."""
NOVELTY_QUANTILE = 0.999
NOVELTY_IMAGES = 10000
CHUNK = 500
EPISODES, LAYOUTS, LENGTH = 600, 60, 60
"""Motion that a model is calibrated with that is there."""
SEED_STEP = 3
"""The data are those of no other use of a training run's seed."""

Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Standing:
    """Latents (N, D) of robots that stand still.

    Attributes:
        first: of a image with the camera's noise.
        second: of another of the same place.
        near: of the next image of the recorded motion.
        far: of any image of the same episode.
    """

    first: Tensor
    second: Tensor
    near: Tensor
    far: Tensor


@torch.no_grad()
def calibrate(
    model: CompactModel, latents: EpisodeLatents, dataset: Dataset, rng: np.random.Generator
) -> Calibration:
    """Measure how goal distances grow with the steps between two images.

    Args:
        model: trained.
        latents: of every frame of `dataset`.
        dataset: recorded motion.
        rng: of the sensor's noise and of what is chosen.
    """
    standing = latents_of_standing(model, latents, dataset, rng)

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
        standing: as `latents_of_standing` makes it.

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
    """First frames of steady motion: commands in one direction.

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
def latents_of_standing(
    model: CompactModel, latents: EpisodeLatents, dataset: Dataset, rng: np.random.Generator
) -> Standing:
    """Latents of places of the recorded motion, each seen twice by a camera with noise."""
    count = min(STANDING_PLACES, int(dataset.lengths.sum()))
    episode, step = draw_windows(dataset.lengths, 1, count, rng)
    images = dataset.images(episode, step)

    def noisy() -> Tensor:
        noise = rng.normal(0.0, SENSOR_NOISE, images.shape).astype(np.float32)
        seen = (images + torch.from_numpy(noise)).clamp(0, 1)
        return embed(model, dataset, episode, step, seen)

    other = rng.integers(0, dataset.lengths[episode] + 1)
    return Standing(noisy(), noisy(), latents.at(episode, step + 1), latents.at(episode, other))


@torch.no_grad()
def with_novelty(
    calibration: Calibration,
    model: CompactModel,
    held_out: Dataset,
    rng: np.random.Generator,
) -> Calibration:
    """Add the bounds that 1 of 1000 familiar images exceeds, with a camera's noise.

    Args:
        calibration: to add them to.
        model: with a trained decoder; the manifold's bound is left out without a denoiser.
        held_out: motion that the model was not trained on.
        rng: chooses the images.
    """
    errors, distances = [], []
    for _ in range(NOVELTY_IMAGES // CHUNK):
        episodes, steps = draw_windows(held_out.lengths, 0, CHUNK, rng)
        images = held_out.images(episodes, steps)
        noise = rng.normal(0.0, SENSOR_NOISE, images.shape).astype(np.float32)
        images = (images + torch.from_numpy(noise)).clamp(0, 1).to(model.device)
        latents = embed(model, held_out, episodes, steps, images)
        errors.append(reconstruction_error(model, latents, images))
        if model.knows_manifold:
            distances.append(model.off_manifold(latents))
    bounds = {
        name: float(f'{float(torch.cat(values).quantile(NOVELTY_QUANTILE)):.4g}')
        for name, values in (
            ('reconstruction_bound', errors),
            ('off_manifold_bound', distances),
        )
        if values
    }
    return calibration.model_copy(update=bounds)


def _quantile(values: Tensor, level: float) -> float:
    """Quantile to four digits: manifests are read by people."""
    return float(f'{float(values.quantile(level)):.4g}')


def calibrate_model(
    folder: Path, task: str | None = None, episodes: int = EPISODES, length: int = LENGTH
) -> Calibration:
    """Record motion in the simulator and write what it says into the manifest.

    What the manifest says of one step stays: benchmarks were run with it.

    Args:
        folder: of the model.
        task: to record in; None for the one that the manifest names.
        episodes: to record, in all worlds together.
        length: actions of each.

    Raises:
        CheckpointError: if the model cannot be used.
        ValueError: if the task is unknown or does not fit the model.
    """
    model, manifest = load_compact(folder)
    settings = manifest.training.get('config', {})
    task = task or settings.get('task')
    if task not in RECIPES:
        raise ValueError(f'the manifest names no known task ({task!r}); give one with --task')
    config = RECIPES[task]
    layouts = min(LAYOUTS, config.layouts)
    seed = int(settings.get('seed', 0)) + SEED_STEP
    dataset = record(config, layouts, episodes, length, seed, manifest.action.std[0])
    measured = calibrate(model, encode_all(model, dataset), dataset, np.random.default_rng(seed))
    measured = with_novelty(measured, model, dataset, np.random.default_rng(seed))
    kept = manifest.calibration.model_dump(include=ONE_STEP, exclude_none=True)
    calibration = measured.model_copy(update=kept)
    write_manifest(folder, manifest.model_copy(update={'calibration': calibration}))
    return calibration


def main(arguments: list[str] | None = None) -> int:
    """Calibrate a model; exit status 2 where it or the task cannot be used."""
    parser = argparse.ArgumentParser(prog='calibrate', description=__doc__)
    parser.add_argument('--model', required=True, help='folder of the model, or a name')
    parser.add_argument('--task', choices=list(RECIPES), help="default: the manifest's")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        folder = find_model(parsed.model)
        calibration = calibrate_model(folder, parsed.task)
    except (CheckpointError, ValueError) as error:
        print(f'calibrate: {error}', file=sys.stderr)
        return 2
    for name in ('latent', 'time_to_reach'):
        curve = getattr(calibration, name)
        if curve is not None:
            print(f'{name}: median by steps {np.round(curve.median, 4)}, '
                  f'noise {curve.noise:.4f} + {curve.noise_ratio:.1%}')
    for bound in ('reconstruction_bound', 'off_manifold_bound'):
        print(f'{bound}: {getattr(calibration, bound)}')
    print(f'wrote the calibration into the manifest in {folder}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
