"""All speed rows of the benchmark: growth, latent sizes, batching and capture, a full solve."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from grasp_ros.benchmark.speed.iteration import (
    SECONDS,
    measure_iteration,
    quartiles,
    random_problem,
)
from grasp_ros.benchmark.speed.references import MlpPredictor, PatchPredictor
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_model
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.planning.lifted import Precision
from grasp_ros.planning.objective import DistanceKind, goal_distance
from grasp_ros.planning.process_tuning import keep_freed_memory

Row = dict[str, Any]

HORIZONS = (10, 25, 50, 80)
CANDIDATES = (1, 8, 32)
MIDDLE = 50
KINDS: tuple[DistanceKind, ...] = ('latent', 'time_to_reach')
PATCH_HORIZONS = {'cpu': (2, 4), 'cuda': (2, 4, 8, 16)}
SOLVES = 30


def growth(name: str, model: WorldModel, seconds: float = SECONDS) -> Iterator[Row]:
    """Iterations by goal distance, candidates and horizon; `seconds` for each, about."""
    on_gpu = model.device.type == 'cuda'
    execution = 'cuda graph' if on_gpu else 'eager'
    for kind, candidates, horizon in product(KINDS, CANDIDATES, HORIZONS):
        distance = goal_distance(model, kind)
        yield asdict(
            measure_iteration(
                name, distance, horizon, candidates, execution=execution, seconds=seconds
            )
        )


def batching_and_capture(
    name: str, model: WorldModel, horizon: int = MIDDLE, seconds: float = SECONDS
) -> Iterator[Row]:
    """Two rows that make the 2 x 2 table: both iterations eager, both compiled or captured."""
    quick = 'cuda graph' if model.device.type == 'cuda' else 'compiled'
    for kind, execution in product(KINDS, ('eager', quick)):
        distance = goal_distance(model, kind)
        yield asdict(
            measure_iteration(name, distance, horizon, 1, execution=execution, seconds=seconds)
        )


def latent_sizes(device: torch.device, seconds: float = SECONDS) -> Iterator[Row]:
    """Other predictors with random weights, latent distance; `seconds` for each row, about."""
    execution = 'cuda graph' if device.type == 'cuda' else 'eager'
    torch.manual_seed(0)
    vector = MlpPredictor().to(device)
    for candidates, horizon in product((1, 8), HORIZONS):
        distance = goal_distance(vector, 'latent')
        yield asdict(
            measure_iteration(
                'mlp, 192-D, 4 blocks', distance, horizon, candidates, execution=execution,
                seconds=seconds,
            )
        )
    patches = PatchPredictor().to(device)
    precisions: tuple[Precision, ...] = ('float32',)
    if device.type == 'cuda':
        precisions += ('bfloat16',)
    for precision, horizon in product(precisions, PATCH_HORIZONS[device.type]):
        distance = goal_distance(patches, 'latent')
        yield asdict(
            measure_iteration(
                'transformer, 196 x 404 patches, 3 frames', distance, horizon, 1,
                precision=precision, execution=execution, seconds=seconds,
            )
        )  # fmt: skip


def full_solve(name: str, model: WorldModel, horizon: int = MIDDLE) -> Row:
    """Warm solves with the default settings, without a deadline."""
    planner = GraspPlanner(model, GraspConfig())
    problem = random_problem(model, 1, horizon, seed=0)
    planner.prepare(problem)
    generator = torch.Generator(model.device).manual_seed(0)
    plan = planner.plan(problem, generator=generator)
    times = []
    for _ in range(SOLVES):
        plan = planner.plan(problem, plan, generator=generator)
        times.append(1e3 * plan.solve_time_s)
    return {
        'model': name,
        'device': str(model.device),
        'goal_distance': planner.distance.kind,
        'horizon': horizon,
        'candidates': planner.config.candidates,
        'iterations': plan.iterations,
        'threads': torch.get_num_threads(),
        'precision': planner.config.precision,
        'execution': str(planner.execution),
        'solve_ms': round(statistics.median(times), 3),
        'solve_quartiles_ms': quartiles(times),
    }


def not_measured(name: str) -> list[Row]:
    """Rows that a CUDA device would add, where there is none."""
    return [
        {
            'model': model,
            'device': 'cuda',
            'horizon': horizon,
            'candidates': 1,
            'status': 'not measured',
        }
        for model, horizon in (
            (name, MIDDLE),
            (f'{name}, full solve', MIDDLE),
            ('mlp, 192-D, 4 blocks', MIDDLE),
            ('transformer, 196 x 404 patches, 3 frames', PATCH_HORIZONS['cuda'][-1]),
        )
    ]


def speed_rows(name: str, folder: Path, *, full: bool) -> list[Row]:
    """All rows on one CPU thread, and on a CUDA device where there is one.

    Args:
        name: of the model, for the rows.
        folder: of the model.
        full: also the latent sizes and what needs compiling: some minutes in place of one.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    devices = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']
    rows: list[Row] = []
    with tqdm(desc='speed', unit='row') as bar:
        for device in map(torch.device, devices):
            model, _ = load_model(folder, device)
            parts = [growth(name, model), iter([full_solve(name, model)])]
            if full:
                parts += [batching_and_capture(name, model), latent_sizes(device)]
            for part in parts:
                for row in part:
                    rows.append(row)
                    bar.update()
    return rows if 'cuda' in devices else rows + not_measured(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='two_room', help='folder or name of a model')
    parser.add_argument('--quick', action='store_true', help='only growth and the full solve')
    parser.add_argument('--output', type=Path, default=Path('out/bench/speed.json'))
    options = parser.parse_args(arguments)
    try:
        folder = find_model(options.model)
        rows = speed_rows(folder.name, folder, full=not options.quick)
    except CheckpointError as error:
        print(f'speed: {error}', file=sys.stderr)
        return 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {'machine': machine(), 'versions': versions(), 'speed': rows}
    options.output.write_text(json.dumps(content, indent=1) + '\n')
    print(f'wrote {len(rows)} rows to {options.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
