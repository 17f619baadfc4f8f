"""The training pipeline, simulated or recorded: train, evaluate, calibrate, write, report."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grasp_ros.models.calibration import ONE_STEP, Calibration
from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import Manifest
from grasp_ros.training.data.dataset import Dataset
from grasp_ros.training.data.training_data import TrainingData
from grasp_ros.training.evaluation.acceptance import Acceptance, Evaluation, evaluate
from grasp_ros.training.evaluation.calibrate import calibrate, with_novelty
from grasp_ros.training.evaluation.model_card import write_report
from grasp_ros.training.loop import Log, number, wait_for_all
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.phases import Trainer
from grasp_ros.training.recipes import TrainConfig


def train(
    config: TrainConfig,
    data: TrainingData,
    work: Path,
    output: Path,
    *,
    device: str = 'cpu',
    log: Log | None = None,
    began: float | None = None,
) -> list[str]:
    """Train a model, judge it on held-out data, and write it with its report page.

    Args:
        config: settings.
        data: to train on and to judge by.
        work: keeps the progress; a run that was interrupted goes on from there.
        output: folder of the model.
        device: to train on.
        log: takes the loss terms.
        began: when the run began, by `time.monotonic`; None for now.

    Returns:
        Why the model is not acceptable, in words; empty for one that is.

    Raises:
        ValueError: if progress in `work` was made with other data or settings.
        KeyboardInterrupt: on Ctrl-C, after progress has been saved.
    """
    began = time.monotonic() if began is None else began
    check_settings({**asdict(config), **data.identity}, work)
    model, latents = train_phases(config, data, work, device, log)
    if number():
        return []
    print('evaluating ...', flush=True)

    def rng() -> np.random.Generator:
        return np.random.default_rng(config.seed)

    held_out = data.held_out
    held_out_latents = encode_all(model, held_out)
    evaluation = evaluate(model, held_out_latents, held_out, rng())
    acceptance = data.accept(model)
    calibration = calibrate(model, latents, data.train, rng())
    calibration = with_novelty(calibration, model, held_out, rng())
    judged: dict[str, object] = {'evaluation': asdict(evaluation)}
    if acceptance is not None:
        # As the manifests of earlier models call it.
        judged = {'task': config.task, **judged, 'gates': asdict(acceptance)}
    minutes = spent_minutes(work, time.monotonic() - began)
    manifest = write(
        output,
        model,
        data.train,
        calibration,
        {
            'dataset': {**data.summary, 'source': data.train.description.source},
            **judged,
            'config': asdict(config),
            'minutes': minutes,
            'threads': torch.get_num_threads(),
            'versions': versions(),
        },
    )
    failures = evaluation.failures()
    if acceptance is not None:
        failures += acceptance.failures(config.probe_limit_px)
    page = write_report(
        output, model, manifest, held_out, held_out_latents, evaluation, failures, rng()
    )
    _print_quality(evaluation, acceptance, calibration)
    print(f'wrote {output} after {minutes} minutes; {page} tells more')
    return failures


def train_phases(
    config: TrainConfig,
    data: TrainingData,
    work: Path,
    device: str = 'cpu',
    log: Log | None = None,
) -> tuple[CompactModel, EpisodeLatents]:
    """Train all parts of the model, resuming from `work` where a run was interrupted.

    Returns:
        The model on the CPU, and its latents of every frame that it was trained on.
    """
    held_out = data.held_out if config.patience else None
    if held_out is not None and held_out.lengths.max() < config.span:
        print('no early stop: no held-out episode is long enough to judge by', flush=True)
        config = replace(config, patience=0)
    trainer = Trainer(config, data.train, work, held_out, log, device)
    model = trainer.model
    trainer.world_model()
    latents = _encode(model, data.train)
    trainer.time_to_reach(latents)
    if config.on_policy_episodes:
        trainer.finetune(data.drive(model))
        latents = _encode(model, data.train)
        trainer.time_to_reach(latents, 'time_to_reach_again')
    if config.predictor_iterations:
        trainer.predictor(latents, data.drive(model) if config.on_policy_episodes else None)
    trainer.decoder(latents)
    if config.manifold_hidden:
        trainer.manifold(latents)
    model.cpu()
    return model, latents if device == 'cpu' else _encode(model, data.train)


def _encode(model: CompactModel, dataset: Dataset) -> EpisodeLatents:
    print('encoding the data ...', flush=True)
    return encode_all(model, dataset)


def write(
    output: Path,
    model: CompactModel,
    dataset: Dataset,
    calibration: Calibration,
    training: Mapping[str, object],
) -> Manifest:
    """Write weights and manifest of a trained model.

    Args:
        output: folder to make.
        model: trained.
        dataset: that it was trained on; its sensors, rates and actions become the model's.
        calibration: measured.
        training: what the manifest says of the run.
    """
    description, space = dataset.description, dataset.action_space
    proprioception = dataset.inputs.proprioception if model.config.proprioception else None
    return save_model(
        output,
        model,
        image=description.image,
        cameras=description.cameras,
        proprioception=None if proprioception is None else {
            'names': list(proprioception.names),
            'units': list(proprioception.units),
            'mean': proprioception.mean.tolist(),
            'std': proprioception.std.tolist(),
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
        training=dict(training),
    )


def _print_quality(
    evaluation: Evaluation, acceptance: Acceptance | None, calibration: Calibration
) -> None:
    if acceptance is not None:
        one_step = calibration.model_dump(include=ONE_STEP, exclude_none=True)
        for name, value in {**asdict(acceptance), **one_step}.items():
            print(f'{name:24} {value:.3f}')
    print(
        f'open-loop error after {evaluation.horizon[-1]} steps {evaluation.open_loop[-1]:.3f} '
        f'(no change: {evaluation.no_change[-1]:.3f}), latent std {evaluation.latent_std:.2f}, '
        f'effective rank {evaluation.effective_rank:.1f}, time to reach correlates with the '
        f'steps between frames by {evaluation.reach_rank_correlation:.3f}'
    )


def check_settings(settings: Mapping[str, Any], work: Path) -> None:
    """Refuse progress that was made with other settings: it would not fit the data.

    Raises:
        ValueError: naming what differs.
    """
    path = work / 'settings.json'
    if not number() and not path.exists():
        path.write_text(json.dumps(settings, indent=2) + '\n')
    wait_for_all()
    earlier = json.loads(path.read_text())
    changed = [
        f'{name} {earlier.get(name)} (now {value})'
        for name, value in settings.items()
        if earlier.get(name) != value
    ]
    if changed:
        raise ValueError(
            f'the progress in {work} was made with {", ".join(changed)}; use the same settings, '
            'or start again with --restart'
        )


def spent_minutes(work: Path, seconds: float) -> float:
    """Add the time of this run to that of those before it; minutes of all of them."""
    path = work / 'seconds.txt'
    total = seconds + (float(path.read_text()) if path.exists() else 0.0)
    path.write_text(f'{total:.1f}\n')
    return round(total / 60, 1)


def versions() -> dict[str, str]:
    """Versions of what the weights depend on."""
    return {
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
    }
