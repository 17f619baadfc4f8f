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
from torch import Tensor, nn

from grasp_ros.models.checkpoint import Calibration, Manifest, save_model
from grasp_ros.models.compact import CompactConfig, CompactModel
from grasp_ros.sim.motion import collect, collect_layouts
from grasp_ros.sim.tasks import TASKS, Task
from grasp_ros.training.data import MotionDataset
from grasp_ros.training.gates import Gates, encode_all, measure
from grasp_ros.training.loop import run_phase
from grasp_ros.training.manifold import calibrate_manifold, denoiser_loss
from grasp_ros.training.reach import reach_loss
from grasp_ros.training.recipes import RECIPES, TrainConfig
from grasp_ros.training.world_model import (
    WorldModelWeights,
    inverse_heads,
    reconstruction_error,
    world_model_loss,
)

HELD_OUT_LAYOUTS = 50
LAYOUT_STREAM = 7
"""Tells the randomness of the worlds from that of the motion."""


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
    torch.manual_seed(config.seed)
    architecture = CompactConfig(
        latent_dim=config.latent_dim,
        hidden=config.hidden,
        channels=config.channels,
        encoder_hidden=config.encoder_hidden,
        reach_hidden=config.reach_hidden,
        manifold_hidden=config.manifold_hidden,
    )
    model = CompactModel(architecture)
    weights = WorldModelWeights(
        smoothness=config.smoothness,
        inverse_dynamics=config.inverse_dynamics,
        displacement=config.displacement,
        reconstruction=config.reconstruction,
    )
    inverse = inverse_heads(model, weights)
    every = max(1, config.episodes // 2000)
    steps = np.random.default_rng(config.seed).integers(0, config.length, config.episodes // every)
    model.fit_images(dataset.images(np.arange(config.episodes)[::every][: len(steps)], steps))
    trained = [model.encoder, model.predictor, inverse]
    if weights.reconstruction:
        trained.append(model.decoder)

    run_phase(
        'world_model',
        nn.ModuleList(trained),
        lambda rng: world_model_loss(
            model, inverse, dataset, config.batch, weights, rng
        ),
        config.iterations,
        learning_rate=1e-3,
        seed=config.seed,
        folder=work,
    )
    print('encoding the data ...', flush=True)
    latents = encode_all(model, dataset)
    log_weight = nn.ParameterDict({'log_weight': nn.Parameter(torch.zeros(()))})
    run_phase(
        'time_to_reach',
        nn.ModuleList([model.reach_embedding, log_weight]),
        lambda rng: reach_loss(
            model,
            log_weight['log_weight'],
            latents,
            config.reach_batch,
            rng,
            config.layouts,
            config.reach_farthest,
        ),
        config.reach_iterations,
        learning_rate=1e-3,
        seed=config.seed,
        folder=work,
    )
    run_phase(
        'decoder',
        model.decoder,
        lambda rng: decoder_loss(model, dataset, latents, config.batch, rng),
        config.decoder_iterations,
        learning_rate=2e-3,
        seed=config.seed,
        folder=work,
    )
    if config.manifold_hidden:
        run_phase(
            'manifold',
            model.denoiser,
            lambda rng: denoiser_loss(model, latents, config.reach_batch, rng),
            config.manifold_iterations,
            learning_rate=1e-3,
            seed=config.seed,
            folder=work,
        )
        calibrate_manifold(model, latents, np.random.default_rng(config.seed))
    print('measuring the gates ...', flush=True)
    few = min(HELD_OUT_LAYOUTS, config.layouts)
    fit = record(config, few, 200, 50, config.seed + 1, dataset.action_std)
    held_out = record(config, few, 300, 50, config.seed + 2, dataset.action_std)
    gates = measure(model, fit, held_out, config.seed)
    return model, gates, calibrate(model, latents, dataset), dataset.action_std


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


def decoder_loss(
    model: CompactModel,
    dataset: MotionDataset,
    latents: Tensor,
    batch: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Reconstruction error on random frames."""
    episode = rng.integers(0, dataset.episodes, batch)
    step = rng.integers(0, dataset.length + 1, batch)
    images = dataset.images(episode, step)
    return {'total': reconstruction_error(model, latents[episode, step], images)}


@torch.no_grad()
def calibrate(model: CompactModel, latents: Tensor, dataset: MotionDataset) -> Calibration:
    """Median goal distances between consecutive frames in which the robot was told to move."""
    fastest = np.abs(dataset.motion.actions).max(axis=-1)
    moving = torch.from_numpy(fastest > 0.5 * dataset.worlds[0].max_speed).flatten()
    before, after = latents[:, :-1].flatten(0, 1)[moving], latents[:, 1:].flatten(0, 1)[moving]
    chosen = slice(0, 20000)
    before, after = before[chosen], after[chosen]
    return Calibration(
        one_step_latent=float((before - after).square().mean(dim=-1).median()),
        one_step_time_to_reach=float(model.time_to_reach(before, after).median()),
    )


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
        print(f'\nstopped; the same command resumes from {parsed.work}', file=sys.stderr)
        return 130
    except ValueError as error:
        print(f'train: {error}', file=sys.stderr)
        return 2
    provenance = {
        'config': asdict(config),
        'minutes': round((time.monotonic() - began) / 60, 1),
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
    for name, value in {**asdict(gates), **calibration.model_dump()}.items():
        print(f'{name:24} {value:.3f}')
    print(f'wrote {parsed.output} after {provenance["minutes"]} minutes')
    for failure in gates.failures():
        print(f'gate missed: {failure}', file=sys.stderr)
    return 1 if gates.failures() else 0


if __name__ == '__main__':
    sys.exit(main())
