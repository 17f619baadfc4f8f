"""Does proprioception help? The point maze with and without, from the same data.

python -m grasp_ros.benchmark.point_maze --output benchmark_results/point_maze.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.benchmark.tables.results import mcnemar, success_interval
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.machine import machine, versions
from grasp_ros.messages.images import to_model_input
from grasp_ros.models.checkpoint import MANIFEST_NAME, load_model
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import Observation, WorldModel, rollout
from grasp_ros.planning.registry import build
from grasp_ros.sim.closed_loop import drive, lock_step
from grasp_ros.sim.point_maze.world import (
    VELOCITY,
    MassMotion,
    PointMaze,
    PointMazeSimulation,
    budget_for,
    collect_mass_motion,
    draw_episode,
)
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import Rules
from grasp_ros.training.command import main as train
from grasp_ros.training.data.point_maze_data import record
from grasp_ros.training.evaluation.acceptance import apply_probe, fit_probe

FIRST_SEED = 1000
HORIZON, REPLAN_EVERY = 30, 2
OPEN_LOOP_STEPS = (1, 5, 10, 20)
OPEN_LOOP_EPISODES, OPEN_LOOP_SEED = 150, 20267
TRAINING = (
    '--iterations=1500', '--batch=32', '--span=16', '--reach-iterations=1500', '--reach-batch=256',
    '--predictor-iterations=500', '--decoder-iterations=250', '--manifold-iterations=300',
    '--latent-dim=32', '--hidden=256', '--encoder-hidden=128', '--keypoints=16', '--patience=0',
)  # fmt: skip
VARIANTS = {'with': 1, 'without': 0}


@dataclass(frozen=True)
class Row:
    """One episode; `budget` in control periods, success as the monitor says."""

    seed: int
    around: bool
    reached: bool
    steps: int
    budget: int
    final_distance_px: float


@torch.no_grad()
def open_loop(
    model: WorldModel, manifest: Manifest, world: PointMaze, motion: MassMotion
) -> dict[str, float]:
    """Errors in px of the position that a linear probe reads from imagined latents.

    Args:
        model: trained.
        manifest: of it.
        world: where.
        motion: that nothing was trained on; the probe is fitted on every other episode.

    Returns:
        The mean distance after some numbers of steps; 0 is the error of the probe alone.
    """
    latents = torch.stack([_encode(model, manifest, world, states) for states in motion.states])
    pixels = motion.states[..., :2] / METRES_PER_PIXEL
    probe = fit_probe(latents[::2], pixels[::2])
    space = manifest.action_space
    actions = torch.from_numpy(space.normalise(motion.accelerations[1::2, :, None])).float()
    first = latents[1::2, :1]
    imagined = rollout(model, first, actions[:, :0], actions[:, : max(OPEN_LOOP_STEPS)])
    states = torch.cat([first, imagined], dim=1)
    error = np.linalg.norm(apply_probe(probe, states) - pixels[1::2, : states.shape[1]], axis=-1)
    return {
        str(steps): round(float(error[:, steps].mean()), 3) for steps in (0, *OPEN_LOOP_STEPS)
    }


def _encode(
    model: WorldModel, manifest: Manifest, world: PointMaze, states: NDArray[np.float64]
) -> torch.Tensor:
    """Latents (L + 1, D) of an episode's states (L + 1, 4)."""
    image = manifest.image
    images = np.stack(
        [
            to_model_input(rendered, image.height, image.width, image.fit)
            for rendered in world.render(states[:, :2])
        ]
    )
    space = manifest.inputs.proprioception
    proprioception = None
    if space is not None:
        proprioception = torch.from_numpy(space.normalise(states[:, VELOCITY]))[None]
    return model.encode(Observation(torch.from_numpy(images)[None], proprioception))[0]


def measure(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Open-loop errors and closed-loop episodes of a model, ready for JSON."""
    world = PointMaze()
    model, manifest = load_model(folder)
    rng = np.random.default_rng(OPEN_LOOP_SEED)
    motion = collect_mass_motion(world, OPEN_LOOP_EPISODES, max(OPEN_LOOP_STEPS), rng)
    config = lock_step(
        ControllerConfig(horizon=HORIZON), world.control_period, REPLAN_EVERY
    )
    planner = build('grasp', model, {})
    controller = build_controller(
        model, manifest, planner, model_limits(manifest), config, goal_tolerance=0.0
    )
    rows: list[Row] = []
    times: list[float] = []
    for seed in tqdm(seeds, desc=folder.name, unit='episode'):
        episode, way_px = draw_episode(world, seed)
        budget = budget_for(way_px)
        driven = PointMazeSimulation(world, episode, Rules(budget))
        times += drive(controller, driven, world.control_period, REPLAN_EVERY).solve_times_s
        result = driven.monitor.result()
        distance = round(result.final_distance_px, 2)
        rows.append(
            Row(seed, episode.through_door, result.reached, result.steps, budget, distance)
        )
    reached = sum(row.reached for row in rows)
    low, high = success_interval(reached, len(rows))
    return {
        'open_loop_px': open_loop(model, manifest, world, motion),
        'success': {'reached': reached, 'episodes': len(rows),
                    'interval': [round(low, 3), round(high, 3)]},
        'around_the_bend': sum(row.reached for row in rows if row.around),
        'median_steps': _median([row.steps for row in rows if row.reached]),
        'median_solve_ms': round(1e3 * float(np.median(times)), 1),
        'weights_sha256': manifest.weights_sha256,
        'training': {key: manifest.training.get(key) for key in ('config', 'minutes')},
        'rows': [asdict(row) for row in rows],
    }


def _median(values: Sequence[int]) -> float | None:
    return float(np.median(values)) if values else None


def table(content: dict[str, Any]) -> str:
    """The figures for people."""
    names = list(VARIANTS)
    lines = ['| | ' + ' | '.join(f'{name} proprioception' for name in names) + ' |']
    lines.append('|---|' + '---|' * len(names))
    found = [content[name] for name in names]
    for steps in OPEN_LOOP_STEPS:
        values = ' | '.join(f'{one["open_loop_px"][str(steps)]:.2f} px' for one in found)
        lines.append(f'| open-loop error after {steps} steps | {values} |')
    values = ' | '.join(
        f'{one["success"]["reached"]} of {one["success"]["episodes"]}' for one in found
    )
    lines.append(f'| goals reached and held | {values} |')
    lines.append(f'| McNemar p | {content["mcnemar_p"]:.3f} | |')
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, train both models, measure; what is there already is used again.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0, or that of a training that was cut short.
    """
    parser = argparse.ArgumentParser(prog='point_maze', description=__doc__)
    parser.add_argument('--work', type=Path, default=Path('out/point_maze'), help='data and models')
    parser.add_argument('--output', type=Path, required=True, help='JSON to write')
    parser.add_argument('--episodes', type=int, default=40, help='(default: %(default)s)')
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data, began = options.work / 'data', time.monotonic()
    if not (data / 'dataset.json').exists():
        record(data)
    for name, proprioception in VARIANTS.items():
        if (options.work / name / MANIFEST_NAME).exists():
            continue
        status = train(
            [f'--recorded={data}', f'--work={options.work / f"work_{name}"}',
             f'--output={options.work / name}', f'--proprioception={proprioception}', *TRAINING]
        )  # fmt: skip
        if not (options.work / name / MANIFEST_NAME).exists():
            return status
    seeds = list(range(FIRST_SEED, FIRST_SEED + options.episodes))
    content: dict[str, Any] = {
        'machine': machine(),
        'versions': versions(),
        'threads': 1,
        'horizon': HORIZON,
        'replan_every': REPLAN_EVERY,
        'seeds': [seeds[0], seeds[-1]],
        'command': 'python -m grasp_ros.benchmark.point_maze',
        **{name: measure(options.work / name, seeds) for name in VARIANTS},
    }
    reached = [[row['reached'] for row in content[name]['rows']] for name in VARIANTS]
    content['mcnemar_p'] = round(mcnemar(*reached), 4)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + '\n')
    print(table(content))
    print(f'wrote {options.output} after {(time.monotonic() - began) / 60:.1f} minutes')
    return 0


if __name__ == '__main__':
    sys.exit(main())
