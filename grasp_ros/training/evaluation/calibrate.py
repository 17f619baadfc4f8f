"""The command `calibrate`: add calibration data to the manifest of a model, not its weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from grasp_ros.models.calibration import ONE_STEP, Calibration
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_compact, write_manifest
from grasp_ros.training.command import record
from grasp_ros.training.evaluation.measure import calibrate
from grasp_ros.training.losses.latents import encode_all
from grasp_ros.training.losses.manifold import with_novelty
from grasp_ros.training.recipes import RECIPES

EPISODES, LAYOUTS, LENGTH = 600, 60, 60
SEED_STEP = 3
"""The data are those of no other use of a training run's seed."""


def calibrate_model(folder: Path, task: str | None = None) -> Calibration:
    """Record motion in the simulator and write what it says into the manifest.

    What the manifest says of one step stays: benchmarks were run with it.

    Args:
        folder: of the model.
        task: to record in; None for the one that the manifest names.

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
    dataset = record(config, layouts, EPISODES, LENGTH, seed, manifest.action.std[0])
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
