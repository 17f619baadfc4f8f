"""Gain of latency compensation: episodes with planning slowed to 0.5, 1 and 2 control periods.

Each episode is driven by a plain node that executes each plan from its beginning, by one that takes
commands by their times, with a constant compensation and with the delay estimated while driving.
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
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.benchmark.run.cells import episode_of
from grasp_ros.benchmark.run.variants import evaluation_seeds
from grasp_ros.benchmark.run.workers import map_cells
from grasp_ros.benchmark.slow_planning import DelayedDriver, OnArrival, SlowEpisode, SlowPlanner
from grasp_ros.benchmark.tables.results import mcnemar, success_interval
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_model
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import build
from grasp_ros.sim.rooms.episodes import RoomsEpisode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import EpisodeResult, ReachMonitor, Rules

COMPENSATIONS = ('none', 'times', 'constant', 'estimated')
PERIODS = (0.5, 1.0, 2.0)
SUCCESSES = ('reached', 'precise')
MEASURES = ('steps', 'change', 'overshoot_cm')

Episode = dict[str, Any]
Row = dict[str, Any]


TASK = 'two_room_drawn_door'
HORIZON = 50
CONSTANT_S = 0.08
GOAL_TOLERANCE = 1.0
PRECISE_PX = 2.0
NOTES = (
    'none: a plain node, which plans from the image as it is and executes each plan from its '
    'beginning; times: plans start from the image, but their commands are taken by their times; '
    f'constant: planning_delay is {CONSTANT_S:g} s, the default; estimated: from the measured '
    'delays. A solve takes the given number of control periods (0.1 s), spread by 10 %, 3 % of '
    'them twice as long; the next begins when it has ended. Reached: come within 5 px (25 cm) of '
    'the goal and stay there for 1 s, in 1.5 times the time-optimal steps and 20 more; precisely: '
    f'within {PRECISE_PX:g} px (10 cm). Steps over optimum: control periods until the robot has '
    'arrived to stay within 5 px, beyond the time-optimal path, mean of the successes. Change: '
    'mean squared change of the command from tick to tick. Overshoot: how far the robot went '
    'beyond its goal, mean. In brackets McNemar p-values, after ± standard errors.'
)


@dataclass(frozen=True)
class Trial:
    """One episode to drive.

    Attributes:
        compensation: one of COMPENSATIONS.
        periods: planning time in control periods.
        seed: of the episode.
    """

    compensation: str
    periods: float
    seed: int


def policy(compensation: str) -> ControllerConfig:
    """The controller's policy with a kind of compensation."""
    return ControllerConfig(
        horizon=HORIZON,
        planning_delay=0.0 if compensation in ('none', 'times') else CONSTANT_S,
        estimate_delay=compensation == 'estimated',
    )


def run_trial(trial: Trial) -> dict[str, Any]:
    """Drive one episode; its entry in the JSON file."""
    torch.set_num_threads(1)
    model, manifest, planner = _parts()
    slow = SlowPlanner(planner)
    controller = build_controller(
        model,
        manifest,
        slow,
        model_limits(manifest),
        policy(trial.compensation),
        GOAL_TOLERANCE,
    )
    control: DelayedDriver = OnArrival(controller) if trial.compensation == 'none' else controller
    task = episode_of(TASK, trial.seed)
    run = SlowEpisode(
        control, slow, task, Rules(task.budget, PRECISE_PX), trial.periods
    ).run()
    usual = result_by(run.positions / METRES_PER_PIXEL, task, Rules(task.budget))
    return {
        'compensation': trial.compensation,
        'periods': trial.periods,
        'seed': trial.seed,
        'reached': usual.reached,
        'precise': run.result.reached,
        'steps': usual.steps,
        'optimal_steps': round(task.optimal_steps, 2),
        'change': round(run.change, 5),
        'overshoot_cm': None if run.overshoot is None else round(100 * run.overshoot, 2),
        'delay_s': round(run.delay_s, 4),
        'plans': run.plans,
    }


def result_by(
    positions_px: NDArray[np.float64], task: RoomsEpisode, rules: Rules
) -> EpisodeResult:
    """Result by other rules of a track (S, 2) of positions in camera pixels."""
    episode = task.episode
    monitor = ReachMonitor(
        episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
    )
    for position in positions_px:
        monitor.update(position)
    return monitor.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write latency.json, latency.md and latency.png."""
    parser = argparse.ArgumentParser(prog='latency', description=__doc__)
    parser.add_argument('--episodes', type=int, default=40, help='of each row; default 40')
    parser.add_argument('--workers', type=int, default=2, help='processes; default 2')
    parser.add_argument('--output', type=Path, default=Path('out/latency'), help='folder')
    options = parser.parse_args(arguments)
    if min(options.episodes, options.workers) < 1:
        parser.error('--episodes and --workers must be at least 1')
    try:
        manifest = _parts()[1]
        seeds = evaluation_seeds(0, options.episodes)
    except (CheckpointError, ValueError) as error:
        print(f'latency: {error}', file=sys.stderr)
        return 2
    trials = [
        Trial(compensation, periods, seed)
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
        'task': TASK,
        'model': {'name': find_model(TASK).name, 'sha256': manifest.weights_sha256},
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
def _parts() -> tuple[WorldModel, Manifest, Planner]:
    model, manifest = load_model(find_model(TASK))
    return model, manifest, build('grasp', model, {})


def summarise(episodes: Sequence[Episode]) -> list[Row]:
    """One row for each planning time and compensation that there are episodes of."""
    rows = []
    for periods, compensation in _cells(episodes):
        own = [entry for entry in episodes if _cell(entry) == (periods, compensation)]
        reached = [entry for entry in own if entry['reached']]
        row: Row = {'periods': periods, 'compensation': compensation, 'episodes': len(own)}
        for success in SUCCESSES:
            row[success] = sum(entry[success] for entry in own)
            interval = success_interval(row[success], len(own))
            row[f'{success}_ci'] = [round(bound, 3) for bound in interval]
        beyond = [entry['overshoot_cm'] for entry in own if entry['overshoot_cm'] is not None]
        row |= {
            'steps_over_optimum': _mean(
                [entry['steps'] - entry['optimal_steps'] for entry in reached], 2
            ),
            'change': _mean([entry['change'] for entry in own], 4),
            'overshoot_cm': _mean(beyond, 2),
            'delay_s': _mean([entry['delay_s'] for entry in own], 3),
        }
        rows.append(row)
    return rows


def paired(episodes: Sequence[Episode]) -> list[Row]:
    """Differences to no compensation on the same episodes.

    Of successes with McNemar's p-value, of measures the mean with its standard error: of steps on
    the episodes that both reached.
    """
    known = {(*_cell(entry), entry['seed']): entry for entry in episodes}
    rows = []
    for periods, compensation in _cells(episodes):
        pairs = [
            (entry, known[periods, 'none', entry['seed']])
            for entry in episodes
            if _cell(entry) == (periods, compensation)
            and (periods, 'none', entry['seed']) in known
        ]
        if compensation == 'none' or not pairs:
            continue
        row: Row = {'periods': periods, 'compensation': compensation, 'pairs': len(pairs)}
        for success in SUCCESSES:
            ours = [bool(with_it[success]) for with_it, _ in pairs]
            theirs = [bool(without[success]) for _, without in pairs]
            row[success] = sum(ours) - sum(theirs)
            row[f'{success}_p'] = round(mcnemar(ours, theirs), 6)
        for measure in MEASURES:
            gaps = [
                with_it[measure] - without[measure]
                for with_it, without in pairs
                if None not in (with_it[measure], without[measure])
                and (measure != 'steps' or (with_it['reached'] and without['reached']))
            ]
            many = len(gaps) > 1
            row[measure] = _mean(gaps, 4) if many else None
            row[f'{measure}_error'] = (
                round(float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5, 4) if many else None
            )
        rows.append(row)
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    lines = [
        '| planning takes, periods | compensation | reached | precisely | steps over optimum '
        '| change, (m/s)^2 | overshoot, cm | delay assumed, s |',
        '|---|---|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["periods"]:g} | {row["compensation"]} | {row["reached"]}/{row["episodes"]} '
        f'| {row["precise"]}/{row["episodes"]} | {_shown(row["steps_over_optimum"], 1)} '
        f'| {row["change"]:.3f} | {_shown(row["overshoot_cm"], 1)} | {row["delay_s"]:.2f} |'
        for row in rows
    ]
    return '\n'.join(lines)


def paired_markdown(differences: Sequence[Row]) -> str:
    """The differences as a table for people."""
    lines = [
        '| planning takes, periods | compensation | reached | precisely | steps '
        '| change, (m/s)^2 | overshoot, cm |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in differences:
        shown = [f'{row[success]:+d} ({row[f"{success}_p"]:.2g})' for success in SUCCESSES]
        shown += [
            '-' if row[measure] is None else f'{row[measure]:+.3f} ± {row[f"{measure}_error"]:.3f}'
            for measure in MEASURES
        ]
        lines.append(f'| {row["periods"]:g} | {row["compensation"]} | {" | ".join(shown)} |')
    return '\n'.join(lines)


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Success, steps over optimum, smoothness and overshoot as bars (PNG)."""
    figure = Figure(figsize=(15, 3.6), layout='constrained')
    panels = (
        ('success, %', lambda row: 100 * row['reached'] / row['episodes']),
        ('precise success, %', lambda row: 100 * row['precise'] / row['episodes']),
        ('steps over optimum', lambda row: row['steps_over_optimum']),
        ('change of the command, (m/s)²', lambda row: row['change']),
        ('overshoot, cm', lambda row: row['overshoot_cm']),
    )
    for axes, (label, value) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for number, compensation in enumerate(COMPENSATIONS):
            own = [row for row in rows if row['compensation'] == compensation]
            places = [PERIODS.index(row['periods']) + 0.2 * (number - 1.5) for row in own]
            axes.bar(places, [value(row) or 0 for row in own], 0.19, label=compensation)
        axes.set_xticks(range(len(PERIODS)), [f'{periods:g}' for periods in PERIODS])
        axes.set(xlabel='planning takes, control periods', ylabel=label)
    figure.axes[2].legend(title='compensation', loc='upper left')
    figure.savefig(path, dpi=110)


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write latency.json, latency.md and latency.png of the content of the first."""
    rows = content['rows']
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'latency.json').write_text(_compact(content))
    parts = (markdown(rows), 'Differences to none:', paired_markdown(content['paired']))
    (folder / 'latency.md').write_text('\n\n'.join((*parts, content['notes'])) + '\n')
    plot(folder / 'latency.png', rows)


def _cell(entry: Episode) -> tuple[float, str]:
    return entry['periods'], entry['compensation']


def _cells(episodes: Sequence[Episode]) -> list[tuple[float, str]]:
    """All cells that there are episodes of, in the order of the tables."""
    there = set(map(_cell, episodes))
    return [cell for cell in product(PERIODS, COMPENSATIONS) if cell in there]


def _mean(values: Sequence[float], digits: int) -> float | None:
    return round(float(np.mean(values)), digits) if values else None


def _shown(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


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
