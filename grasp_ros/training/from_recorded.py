"""From a recorded dataset to a model: train, evaluate, calibrate, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from grasp_ros.models.calibration import Calibration
from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import Manifest
from grasp_ros.training.data.dataset import DatasetError
from grasp_ros.training.data.recorded import RecordedDataset
from grasp_ros.training.evaluation.acceptance import Evaluation, evaluate
from grasp_ros.training.evaluation.measure import calibrate
from grasp_ros.training.evaluation.model_card import write_report
from grasp_ros.training.loop import Log, number
from grasp_ros.training.losses.latents import encode_all
from grasp_ros.training.losses.manifold import calibrate_manifold, with_novelty
from grasp_ros.training.phases import Trainer
from grasp_ros.training.recipes import TrainConfig
from grasp_ros.training.run_folder import check_settings

HELD_OUT = 0.1
MIN_STEPS = 500
SIDE_FACTOR = 16


def train_from_recorded(
    config: TrainConfig,
    folder: Path,
    work: Path,
    output: Path,
    provenance: Callable[[], dict[str, object]],
    device: str = 'cpu',
    log: Log | None = None,
) -> list[str]:
    """Train a model from a recorded dataset and write it.

    Args:
        config: settings.
        folder: of the dataset.
        work: keeps the progress; a run that was interrupted goes on from there.
        output: folder of the model.
        provenance: what the manifest is to say of the run, asked at its end.
        device: to train on.
        log: takes the loss terms.

    Returns:
        What makes the model useless, in words.

    Raises:
        ValueError: if the dataset cannot be used, or progress in `work` was made with another one
            or with other settings.
        KeyboardInterrupt: on Ctrl-C, after progress has been saved.
    """
    dataset = RecordedDataset(folder)
    check_usable(dataset, config)
    if dataset.description.action.low is None:
        print(
            'warning: no limits of the commands are given; the lowest and highest recorded ones '
            'become those of the model',
            flush=True,
        )
    train, held_out = dataset.split(HELD_OUT, config.seed)
    check_settings({**asdict(config), **fingerprint(dataset)}, work)
    model = train_parts(config, train, held_out, work, device, log)
    if number():
        return []
    print('evaluating ...', flush=True)
    latents = encode_all(model, held_out)
    evaluation = evaluate(model, latents, held_out, np.random.default_rng(config.seed))
    calibration = calibrate(
        model, encode_all(model, train), train, np.random.default_rng(config.seed)
    )
    calibration = with_novelty(calibration, model, held_out, np.random.default_rng(config.seed))
    origin = provenance()
    manifest = write(output, model, dataset, train, evaluation, calibration, origin)
    rng = np.random.default_rng(config.seed)
    page = write_report(output, model, manifest, held_out, latents, evaluation, rng)
    print(
        f'open-loop error after {evaluation.horizon[-1]} steps {evaluation.open_loop[-1]:.3f} '
        f'(no change: {evaluation.no_change[-1]:.3f}), latent std {evaluation.latent_std:.2f}, '
        f'effective rank {evaluation.effective_rank:.1f}, time to reach correlates with the '
        f'steps between frames by {evaluation.reach_rank_correlation:.3f}'
    )
    print(f'wrote {output} after {origin["minutes"]} minutes; {page} tells more')
    return evaluation.failures()


def check_usable(dataset: RecordedDataset, config: TrainConfig) -> None:
    """Refuse a dataset before the work begins.

    Raises:
        DatasetError: saying what is wrong with it.
    """
    description, folder = dataset.description, dataset.folder
    height, width = description.image.height, description.image.width
    if height != width or height % SIDE_FACTOR:
        raise DatasetError(
            f'{folder}: the pictures have {width} x {height} pixels; the compact model takes '
            f'squares whose side is a multiple of {SIDE_FACTOR}'
        )
    steps = int(dataset.lengths.sum())
    if steps < MIN_STEPS:
        raise DatasetError(
            f'{folder}: {steps} steps of {description.model_dt:g} s are too little data; at '
            f'least {MIN_STEPS} are needed, and good models take tens of thousands'
        )
    if dataset.lengths.max() < config.span:
        raise DatasetError(
            f'{folder}: the longest episode has {dataset.lengths.max()} steps, but windows of '
            f'{config.span} are learned from; record longer episodes, or shorten the windows with '
            '--span'
        )
    # Says which component is constant, if one is.
    _ = dataset.statistics


def fingerprint(dataset: RecordedDataset) -> dict[str, object]:
    """Tells one dataset from another."""
    statistics = dataset.statistics
    return {
        'dataset_episodes': dataset.episodes,
        'dataset_steps': int(dataset.lengths.sum()),
        'dataset_mean': [float(value) for value in statistics.mean],
        'dataset_std': [float(value) for value in statistics.std],
    }


def train_parts(
    config: TrainConfig,
    train: RecordedDataset,
    held_out: RecordedDataset,
    work: Path,
    device: str,
    log: Log | None,
) -> CompactModel:
    """Train all parts of the model, resuming from `work` where a run was interrupted."""
    if config.patience and held_out.lengths.max() < config.span:
        print('no early stop: no held-out episode is long enough to judge by', flush=True)
        config = replace(config, patience=0)
    trainer = Trainer(config, train, work, held_out, log, device)
    trainer.world_model()
    print('encoding the data ...', flush=True)
    latents = encode_all(trainer.model, train)
    trainer.time_to_reach(latents)
    if config.predictor_iterations:
        trainer.predictor(latents)
    trainer.decoder(latents)
    if config.manifold_hidden:
        trainer.manifold(latents)
        calibrate_manifold(trainer.model, latents, np.random.default_rng(config.seed))
    return trainer.model.cpu()


def write(
    output: Path,
    model: CompactModel,
    dataset: RecordedDataset,
    train: RecordedDataset,
    evaluation: Evaluation,
    calibration: Calibration,
    provenance: dict[str, object],
) -> Manifest:
    """Write weights and manifest of a trained model."""
    description, space = dataset.description, train.action_space
    felt = train.inputs.proprioception if model.config.proprioception else None
    return save_model(
        output,
        model,
        image=description.image,
        cameras=description.cameras,
        proprioception=None if felt is None else {
            'names': list(felt.names),
            'units': list(felt.units),
            'mean': felt.mean.tolist(),
            'std': felt.std.tolist(),
        },
        model_dt=description.model_dt,
        frame_skip=description.frame_skip,
        action={
            'kind': space.kind,
            'names': list(space.names),
            'units': list(space.units),
            'low': space.low.tolist(),
            'high': space.high.tolist(),
            'mean': space.mean.tolist(),
            'std': space.std.tolist(),
        },
        calibration=calibration,
        training={
            'dataset': {**fingerprint(dataset), 'source': description.source},
            'evaluation': asdict(evaluation),
            **provenance,
        },
    )
