"""What latency compensation gains: episodes with planning slowed to 0.5, 1 and 2 control periods.

Each episode is driven without compensation, with a constant one and with the delay that is
estimated while driving.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from grasp_ros.benchmark.cells import GOAL_TOLERANCE, episode_of
from grasp_ros.benchmark.report import machine, versions
from grasp_ros.benchmark.seeds import evaluation_seeds
from grasp_ros.benchmark.slow_planning import SlowEpisode, SlowPlanner
from grasp_ros.benchmark.statistics import success_interval
from grasp_ros.benchmark.workers import map_cells
from grasp_ros.control import build_controller, model_limits
from grasp_ros.core.config import ControllerConfig
from grasp_ros.core.planner import Planner
from grasp_ros.core.world_model import WorldModel
from grasp_ros.models.checkpoint import CheckpointError, Manifest, find_model, load_model
from grasp_ros.planners.registry import build

TASK = 'two_room'
HORIZON = 50
CONSTANT_S = 0.08
COMPENSATIONS = ('off', 'constant', 'estimated')
PERIODS = (0.5, 1.0, 2.0)
NOTES = (
    'off: plans start from the picture, as if planning took no time, but their commands are still '
    'taken by their times; constant: planning_delay is '
    f'{CONSTANT_S:g} s, the default; estimated: from the measured delays. A solve takes the given '
    'number of control periods (0.1 s), spread by 10 %, 3 % of them twice as long. Steps over '
    'optimum: control periods until the robot has arrived to stay, beyond the time-optimal path, '
    'mean of the successes. Change: mean squared change of the command from tick to tick. '
    'Overshoot: how far the robot went beyond its goal, mean.'
)


@dataclass(frozen=True)
class Trial:
    """One episode to drive.

    Attributes:
        compensation: one of COMPENSATIONS.
        periods: planning time in control periods.
        model: folder of the model.
        seed: of the episode.
    """

    compensation: str
    periods: float
    model: str
    seed: int


def policy(compensation: str) -> ControllerConfig:
    """The controller's policy with a kind of compensation."""
    return ControllerConfig(
        horizon=HORIZON,
        planning_delay=0.0 if compensation == 'off' else CONSTANT_S,
        estimate_delay=compensation == 'estimated',
    )


def run_trial(trial: Trial) -> dict[str, Any]:
    """Drive one episode; its entry in the JSON file."""
    torch.set_num_threads(1)
    model, manifest, planner = _parts(trial.model)
    slow = SlowPlanner(planner)
    controller = build_controller(
        model, manifest, slow, model_limits(manifest), policy(trial.compensation), GOAL_TOLERANCE
    )
    task = episode_of(TASK, trial.seed)
    run = SlowEpisode(controller, slow, task, trial.periods).run()
    return {
        'compensation': trial.compensation,
        'periods': trial.periods,
        'seed': trial.seed,
        'reached': run.result.reached,
        'steps': run.result.steps,
        'optimal_steps': round(task.optimal_steps, 2),
        'change': round(run.change, 5),
        'overshoot_m': None if run.overshoot is None else round(run.overshoot, 4),
        'delay_s': round(run.delay_s, 4),
        'plans': run.plans,
    }


def summarise(episodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each planning time and compensation that there are episodes of."""
    rows = []
    for periods, compensation in product(PERIODS, COMPENSATIONS):
        own = [
            entry
            for entry in episodes
            if (entry['periods'], entry['compensation']) == (periods, compensation)
        ]
        if not own:
            continue
        reached = [entry for entry in own if entry['reached']]
        over = [entry['steps'] - entry['optimal_steps'] for entry in reached]
        beyond = [entry['overshoot_m'] for entry in own if entry['overshoot_m'] is not None]
        rows.append(
            {
                'periods': periods,
                'compensation': compensation,
                'episodes': len(own),
                'reached': len(reached),
                'success_ci': [
                    round(bound, 3) for bound in success_interval(len(reached), len(own))
                ],
                'steps_over_optimum': _mean(over, 2),
                'change': _mean([entry['change'] for entry in own], 4),
                'overshoot_cm': _mean([100 * metres for metres in beyond], 2),
                'delay_s': _mean([entry['delay_s'] for entry in own], 3),
            }
        )
    return rows


def paired(episodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean differences to no compensation on the same episodes, each with its standard error."""
    known = {(row['periods'], row['compensation'], row['seed']): row for row in episodes}
    differences = []
    for periods, compensation in product(PERIODS, COMPENSATIONS[1:]):
        pairs = [
            (row, known[periods, 'off', row['seed']])
            for row in episodes
            if (row['periods'], row['compensation']) == (periods, compensation)
            and (periods, 'off', row['seed']) in known
        ]
        for measure, scale in (('steps', 1), ('change', 1), ('overshoot_m', 100)):
            gaps = [
                scale * (with_it[measure] - without[measure])
                for with_it, without in pairs
                if with_it['reached'] and without['reached']
                and None not in (with_it[measure], without[measure])
            ]
            if len(gaps) < 2:
                continue
            differences.append(
                {
                    'periods': periods,
                    'compensation': compensation,
                    'measure': measure.replace('_m', '_cm'),
                    'episodes': len(gaps),
                    'difference': round(float(np.mean(gaps)), 4),
                    'standard_error': round(float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5, 4),
                }
            )
    return differences


def paired_markdown(differences: Sequence[dict[str, Any]]) -> str:
    """The differences as a table for people."""
    lines = [
        '| planning takes, periods | compensation | measure | difference to off | standard error |',
        '|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["periods"]:g} | {row["compensation"]} | {row["measure"]} '
        f'| {row["difference"]:+.3f} | {row["standard_error"]:.3f} |'
        for row in differences
    ]
    return '\n'.join(lines)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table for people."""
    lines = [
        '| planning takes, periods | compensation | reached | steps over optimum '
        '| change, (m/s)^2 | overshoot, cm | delay assumed, s |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        over, beyond = row['steps_over_optimum'], row['overshoot_cm']
        lines.append(
            f'| {row["periods"]:g} | {row["compensation"]} | {row["reached"]}/{row["episodes"]} '
            f'| {"-" if over is None else f"{over:.1f}"} | {row["change"]:.3f} '
            f'| {"-" if beyond is None else f"{beyond:.1f}"} | {row["delay_s"]:.2f} |'
        )
    return '\n'.join(lines)


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Success, steps over optimum, smoothness and overshoot as bars (PNG)."""
    figure = Figure(figsize=(13, 3.6), layout='constrained')
    panels = (
        ('success, %', lambda row: 100 * row['reached'] / row['episodes']),
        ('steps over optimum', lambda row: row['steps_over_optimum']),
        ('change of the command, (m/s)²', lambda row: row['change']),
        ('overshoot, cm', lambda row: row['overshoot_cm']),
    )
    for axes, (label, value) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for number, compensation in enumerate(COMPENSATIONS):
            own = [row for row in rows if row['compensation'] == compensation]
            places = [PERIODS.index(row['periods']) + 0.27 * (number - 1) for row in own]
            axes.bar(places, [value(row) or 0 for row in own], 0.25, label=compensation)
        axes.set_xticks(range(len(PERIODS)), [f'{periods:g}' for periods in PERIODS])
        axes.set(xlabel='planning takes, control periods', ylabel=label)
    figure.axes[1].legend(title='compensation', loc='upper left')
    figure.savefig(path, dpi=120)


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write latency.json, latency.md and latency.png of the content of the first."""
    rows = content['rows']
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'latency.json').write_text(_compact(content))
    text = f'{markdown(rows)}\n\n{paired_markdown(content["paired"])}\n\n{content["notes"]}\n'
    (folder / 'latency.md').write_text(text)
    plot(folder / 'latency.png', rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write latency.json, latency.md and latency.png."""
    parser = argparse.ArgumentParser(prog='latency', description=__doc__)
    parser.add_argument('--model', default=TASK, help=f'folder or name; default {TASK}')
    parser.add_argument('--episodes', type=int, default=40, help='of each row; default 40')
    parser.add_argument('--workers', type=int, default=2, help='processes; default 2')
    parser.add_argument('--output', type=Path, default=Path('out/latency'), help='folder')
    options = parser.parse_args(arguments)
    if min(options.episodes, options.workers) < 1:
        parser.error('--episodes and --workers must be at least 1')
    try:
        folder = find_model(options.model)
        _, manifest = load_model(folder)
        seeds = evaluation_seeds(0, options.episodes)
    except (CheckpointError, ValueError) as error:
        print(f'latency: {error}', file=sys.stderr)
        return 2
    trials = [
        Trial(compensation, periods, str(folder), seed)
        for seed, periods, compensation in product(seeds, PERIODS, COMPENSATIONS)
    ]
    results: dict[int, dict[str, Any]] = {}
    with tqdm(total=len(trials), desc='latency', unit='episode') as bar:
        for position, entry in map_cells(run_trial, trials, workers=options.workers):
            results[position] = entry
            bar.update()
    episodes = [results[position] for position in sorted(results)]
    rows = summarise(episodes)
    content = {
        'machine': machine(),
        'versions': versions(),
        'model': {'name': folder.name, 'sha256': manifest.weights_sha256},
        'seeds': list(seeds),
        'notes': NOTES,
        'rows': rows,
        'paired': paired(episodes),
        'episodes': episodes,
    }
    write(options.output, content)
    print(markdown(rows))
    print(f'\nWrote latency.json, latency.md and latency.png to {options.output}')
    return 0


@lru_cache(maxsize=1)
def _parts(folder: str) -> tuple[WorldModel, Manifest, Planner]:
    model, manifest = load_model(Path(folder))
    return model, manifest, build('grasp', model, {})


def _mean(values: Sequence[float], digits: int) -> float | None:
    return round(float(np.mean(values)), digits) if values else None


def _compact(content: dict[str, Any]) -> str:
    """JSON with one line for each row and episode."""
    parts = []
    for name, value in content.items():
        text = json.dumps(value)
        if name in ('rows', 'paired', 'episodes'):
            text = '[\n  ' + ',\n  '.join(map(json.dumps, value)) + '\n ]'
        parts.append(f' {json.dumps(name)}: {text}')
    return '{\n' + ',\n'.join(parts) + '\n}\n'


if __name__ == '__main__':
    sys.exit(main())
