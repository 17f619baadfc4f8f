"""The command `train`: a compact world model from recorded bags or from a simulated task."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch

from grasp_ros.bags.message_types import BagError
from grasp_ros.models.calibration import ONE_STEP, Calibration
from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.manifest import Manifest
from grasp_ros.sim.motion import collect, collect_layouts
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms import RoomsTask
from grasp_ros.training.data.bag_arguments import add_arguments, extraction, given_options
from grasp_ros.training.data.extract import extract, report
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.evaluation.acceptance import AcceptanceThresholds, measure
from grasp_ros.training.evaluation.measure import calibrate
from grasp_ros.training.from_recorded import train_from_recorded
from grasp_ros.training.loop import Log, number, processes, started_by_torchrun, wait_for_all
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.losses.manifold import calibrate_manifold, with_novelty
from grasp_ros.training.on_policy import drive
from grasp_ros.training.phases import PRECISIONS, Trainer
from grasp_ros.training.recipes import RECIPES, RECORDED, SIMULATED_ONLY, TrainConfig
from grasp_ros.training.run_folder import check_settings, spent_minutes, tensorboard_log, versions

HELD_OUT_LAYOUTS = 50
ON_POLICY_EPISODES_EACH = 4
LAYOUT_STREAM, ON_POLICY_STREAM = 7, 11
"""Tell the randomness of the worlds from that of the motion."""


def train(
    config: TrainConfig, work: Path, log: Log | None = None
) -> tuple[CompactModel, AcceptanceThresholds, Calibration, float]:
    """Train all parts of the model, resuming from `work` where a run was interrupted.

    Args:
        config: settings.
        work: folder of the progress.
        log: takes the loss terms.

    Returns:
        The model, its gates, its calibration, and the standard deviation of the actions in m/s.

    Raises:
        ValueError: if the progress in `work` was made with other settings.
        KeyboardInterrupt: on Ctrl-C, after progress has been saved.
    """
    check_settings(asdict(config), work)
    dataset = record(config, config.layouts, config.episodes, config.length, config.seed)
    trainer = Trainer(config, dataset, work, log=log)
    model = trainer.model
    trainer.world_model()
    latents = _encode(model, dataset)
    trainer.time_to_reach(latents)
    if config.on_policy_episodes:
        trainer.finetune(record_on_policy(config, model, dataset.action_std))
        latents = _encode(model, dataset)
        trainer.time_to_reach(latents, 'time_to_reach_again')
    if config.predictor_iterations:
        driven = None
        if config.on_policy_episodes:
            driven = record_on_policy(config, model, dataset.action_std)
        trainer.predictor(latents, driven)
    trainer.decoder(latents)
    if config.manifold_hidden:
        trainer.manifold(latents)
        calibrate_manifold(model, latents, np.random.default_rng(config.seed))
    print('measuring the gates ...', flush=True)
    few = min(HELD_OUT_LAYOUTS, config.layouts)
    fit = record(config, few, 200, 50, config.seed + 1, dataset.action_std)
    held_out = record(config, few, 300, 50, config.seed + 2, dataset.action_std)
    gates = measure(model, fit, held_out, config.seed)
    calibration = calibrate(model, latents, dataset, np.random.default_rng(config.seed))
    calibration = with_novelty(
        calibration, model, held_out, np.random.default_rng(config.seed)
    )
    return model, gates, calibration, dataset.action_std


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


def _encode(model: CompactModel, dataset: MotionDataset) -> EpisodeLatents:
    print('encoding the data ...', flush=True)
    return encode_all(model, dataset)


def write(
    folder: Path,
    model: CompactModel,
    gates: AcceptanceThresholds,
    calibration: Calibration,
    action_std: float,
    task: RoomsTask,
    provenance: dict[str, object],
) -> Manifest:
    """Write weights and manifest of a trained model."""
    world = task.draw(np.random.default_rng(0))
    limit = world.max_speed
    size = model.config.image_size
    return save_model(
        folder,
        model,
        image={'height': size, 'width': size},
        model_dt=world.control_period,
        frame_skip=1,
        action={
            'kind': 'velocity',
            'names': ['linear.x', 'linear.y'],
            'units': ['m/s', 'm/s'],
            'low': [-limit, -limit],
            'high': [limit, limit],
            'mean': [0.0, 0.0],
            'std': [action_std, action_std],
        },
        calibration=calibration,
        training={'task': task.name, 'gates': asdict(gates), **provenance},
    )


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, TrainConfig]:
    """Command-line arguments; settings that are not given are those of the recipe."""
    parser = argparse.ArgumentParser(
        prog='train', description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--bags', type=Path, metavar='DIR', help='train from this bag, or from all in this folder'
    )
    source.add_argument(
        '--recorded', type=Path, metavar='FOLDER', help='train from this recorded dataset'
    )
    add_arguments(parser)
    parser.add_argument('--output', type=Path, default=Path('out/model'), help='folder to write')
    parser.add_argument(
        '--work', type=Path, default=Path('out/train'), help='folder of the progress kept'
    )
    parser.add_argument('--restart', action='store_true', help='forget earlier progress')
    parser.add_argument(
        '--threads', type=int, default=1, help='CPU threads; other than 1 changes the last digits'
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='write loss terms to the work folder'
    )
    parser.add_argument('--device', default='cpu', help='to train recorded data on, as cuda')
    parser.add_argument(
        '--task', choices=list(ROOMS), default=argparse.SUPPRESS,
        help=f'simulated; without --bags and --recorded {TrainConfig.task}',
    )  # fmt: skip
    recipes = {**RECIPES, 'recorded': RECORDED}
    for name in settings():
        chosen = ', '.join(f'{task}: {getattr(recipe, name)}' for task, recipe in recipes.items())
        parser.add_argument(
            _option(name),
            type=type(getattr(TrainConfig, name)),
            choices=list(PRECISIONS) if name == 'precision' else None,
            default=argparse.SUPPRESS,
            help=chosen,
        )
    parsed = parser.parse_args(arguments)
    given = {name: getattr(parsed, name) for name in settings() if hasattr(parsed, name)}
    if parsed.bags is None:
        foreign = given_options(parsed)
        if foreign:
            parser.error(f'{", ".join(map(_option, foreign))}: only with --bags')
    if parsed.bags is None and parsed.recorded is None:
        return parsed, replace(RECIPES[getattr(parsed, 'task', TrainConfig.task)], **given)
    foreign = [name for name in ('task', *SIMULATED_ONLY) if hasattr(parsed, name)]
    if foreign:
        parser.error(f'{", ".join(map(_option, foreign))}: of simulated tasks only')
    return parsed, replace(RECORDED, **given)


def _option(name: str) -> str:
    return f'--{name.replace("_", "-")}'


def settings() -> list[str]:
    """Names of the settings of a run, besides its task."""
    return [field.name for field in fields(TrainConfig) if field.name != 'task']


def main(arguments: list[str] | None = None) -> int:
    """Train, report the gates, write the model; exit status 1 if a gate is missed."""
    parsed, config = parse(arguments)
    torch.set_num_threads(parsed.threads)
    if parsed.restart and os.environ.get('RANK', '0') == '0':
        shutil.rmtree(parsed.work, ignore_errors=True)
    parsed.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def provenance() -> dict[str, object]:
        return {
            'config': asdict(config),
            'minutes': spent_minutes(parsed.work, time.monotonic() - began),
            'threads': parsed.threads,
            'versions': versions(),
        }

    try:
        log = tensorboard_log(parsed.work / 'tensorboard') if parsed.tensorboard else None
        if parsed.bags is None and parsed.recorded is None:
            if started_by_torchrun():
                raise ValueError('several processes train on recorded data only')
            failures = _train_and_write(config, parsed.work, parsed.output, provenance, log)
        else:
            with processes(parsed.device) as device:
                folder = _dataset(parsed)
                failures = train_from_recorded(
                    config, folder, parsed.work, parsed.output, provenance, device, log
                )
    except KeyboardInterrupt:
        spent_minutes(parsed.work, time.monotonic() - began)
        print(f'\nstopped; the same command resumes from {parsed.work}', file=sys.stderr)
        return 130
    except (ValueError, BagError) as error:
        print(f'train: {error}', file=sys.stderr)
        return 2
    for failure in failures:
        print(f'gate missed: {failure}', file=sys.stderr)
    return 1 if failures else 0


def _dataset(parsed: argparse.Namespace) -> Path:
    """Folder of the dataset; the first process extracts it from the bags where there are such."""
    if parsed.bags is None:
        return parsed.recorded
    folder: Path = parsed.work / 'dataset'
    if not number():
        report(extract(extraction(parsed.bags, parsed), folder))
    wait_for_all()
    return folder


def _train_and_write(
    config: TrainConfig,
    work: Path,
    output: Path,
    provenance: Callable[[], dict[str, object]],
    log: Log | None,
) -> list[str]:
    """Train for a simulated task; returns the gates that are missed, in words."""
    model, gates, calibration, action_std = train(config, work, log)
    origin = provenance()
    write(output, model, gates, calibration, action_std, ROOMS[config.task], origin)
    one_step = calibration.model_dump(include=ONE_STEP, exclude_none=True)
    for name, value in {**asdict(gates), **one_step}.items():
        print(f'{name:24} {value:.3f}')
    print(f'wrote {output} after {origin["minutes"]} minutes')
    return gates.failures(config.probe_limit_px)


if __name__ == '__main__':
    sys.exit(main())
