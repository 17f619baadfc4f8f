"""The command `train`: collect data in the simulator, train a compact world model, judge it."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.calibration import ONE_STEP, Calibration
from grasp_ros.models.checkpoint import Manifest, save_model
from grasp_ros.models.compact import CompactModel
from grasp_ros.sim.motion import collect, collect_layouts
from grasp_ros.sim.tasks import TASKS, Task
from grasp_ros.training.calibration import calibrate
from grasp_ros.training.data import MotionDataset
from grasp_ros.training.gates import Gates, encode_all, measure
from grasp_ros.training.manifold import calibrate_manifold
from grasp_ros.training.novelty import with_novelty
from grasp_ros.training.on_policy import drive
from grasp_ros.training.phases import Trainer
from grasp_ros.training.recipes import RECIPES, TrainConfig

HELD_OUT_LAYOUTS = 50
ON_POLICY_EPISODES_EACH = 4
LAYOUT_STREAM, ON_POLICY_STREAM = 7, 11
"""Tell the randomness of the worlds from that of the motion."""


def train(config: TrainConfig, work: Path) -> tuple[CompactModel, Gates, Calibration, float]:
    """Train all parts of the model, resuming from `work` where a run was interrupted.

    Returns:
        The model, its gates, its calibration, and the standard deviation of the actions in m/s.

    Raises:
        ValueError: if the progress in `work` was made with other settings.
        KeyboardInterrupt: on Ctrl-C, after progress has been saved.
    """
    check_settings(config, work)
    dataset = record(config, config.layouts, config.episodes, config.length, config.seed)
    trainer = Trainer(config, dataset, work)
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
    task = TASKS[config.task]
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
    task = TASKS[config.task]
    rng = np.random.default_rng([config.seed, ON_POLICY_STREAM])
    layouts = min(config.layouts, max(1, config.on_policy_episodes // ON_POLICY_EPISODES_EACH))
    worlds = [task.draw(rng) for _ in range(layouts)]
    each = max(1, config.on_policy_episodes // layouts)
    motion = drive(model, worlds, each, config.length, config.seed, action_std)
    return MotionDataset(worlds, motion, action_std)


def _encode(model: CompactModel, dataset: MotionDataset) -> Tensor:
    print('encoding the data ...', flush=True)
    return encode_all(model, dataset)


def check_settings(config: TrainConfig, work: Path) -> None:
    """Refuse progress that was made with other settings: it would not fit the data.

    Raises:
        ValueError: naming what differs.
    """
    path = work / 'settings.json'
    if not path.exists():
        path.write_text(json.dumps(asdict(config), indent=2) + '\n')
        return
    earlier = json.loads(path.read_text())
    changed = [
        f'{name} {earlier.get(name)} (now {value})'
        for name, value in asdict(config).items()
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


def write(
    folder: Path,
    model: CompactModel,
    gates: Gates,
    calibration: Calibration,
    action_std: float,
    task: Task,
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


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command-line arguments; settings that are not given are those of the task's recipe."""
    parser = argparse.ArgumentParser(
        prog='train', description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--output', type=Path, default=Path('out/model'), help='folder to write')
    parser.add_argument(
        '--work', type=Path, default=Path('out/train'), help='folder of the progress kept'
    )
    parser.add_argument('--restart', action='store_true', help='forget earlier progress')
    parser.add_argument(
        '--threads', type=int, default=1, help='CPU threads; other than 1 changes the last digits'
    )
    parser.add_argument('--task', choices=list(RECIPES), default=TrainConfig.task)
    for name in settings():
        chosen = ', '.join(f'{task}: {getattr(RECIPES[task], name)}' for task in RECIPES)
        kind = type(getattr(TrainConfig, name))
        parser.add_argument(
            f'--{name.replace("_", "-")}', type=kind, default=argparse.SUPPRESS, help=chosen
        )
    return parser.parse_args(arguments)


def settings() -> list[str]:
    """Names of the settings of a run, besides its task."""
    return [field.name for field in fields(TrainConfig) if field.name != 'task']


def main(arguments: list[str] | None = None) -> int:
    """Train, report the gates, write the model; exit status 1 if a gate is missed."""
    parsed = parse(arguments)
    torch.set_num_threads(parsed.threads)
    given = {name: getattr(parsed, name) for name in settings() if hasattr(parsed, name)}
    config = replace(RECIPES[parsed.task], **given)
    if parsed.restart:
        shutil.rmtree(parsed.work, ignore_errors=True)
    parsed.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        model, gates, calibration, action_std = train(config, parsed.work)
    except KeyboardInterrupt:
        spent_minutes(parsed.work, time.monotonic() - began)
        print(f'\nstopped; the same command resumes from {parsed.work}', file=sys.stderr)
        return 130
    except ValueError as error:
        print(f'train: {error}', file=sys.stderr)
        return 2
    provenance = {
        'config': asdict(config),
        'minutes': spent_minutes(parsed.work, time.monotonic() - began),
        'threads': parsed.threads,
        'versions': {
            'python': platform.python_version(),
            'torch': torch.__version__,
            'numpy': np.__version__,
        },
    }
    write(
        parsed.output, model, gates, calibration, action_std, TASKS[config.task], provenance
    )
    one_step = calibration.model_dump(include=ONE_STEP, exclude_none=True)
    for name, value in {**asdict(gates), **one_step}.items():
        print(f'{name:24} {value:.3f}')
    print(f'wrote {parsed.output} after {provenance["minutes"]} minutes')
    failures = gates.failures(config.probe_limit_px)
    for failure in failures:
        print(f'gate missed: {failure}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
