"""The command `benchmark`: planners against each other on the same model and episodes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from grasp_ros.benchmark.closed_loop import Cell, EpisodeRow, run_cells, summary
from grasp_ros.benchmark.plots import plot_speed, plot_success
from grasp_ros.benchmark.report import machine, versions
from grasp_ros.benchmark.speed import measure_iteration
from grasp_ros.benchmark.statistics import mcnemar
from grasp_ros.benchmark.tables import paired_table, speed_table, success_table
from grasp_ros.benchmark.variants import VARIANTS
from grasp_ros.core.objective import DistanceKind, goal_distance
from grasp_ros.models.checkpoint import CheckpointError, find_model, load_model

EVALUATION_SEED = 1000
TUNING_SEED = 100_000
OPEN_LOOP = 1000
SPEED_HORIZONS = (10, 25, 50, 80)
SPEED_CANDIDATES = (1, 8, 32)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        prog='benchmark',
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--task', default='two_room', help='task, and name of its model')
    parser.add_argument(
        '--planners', nargs='+', choices=list(VARIANTS), metavar='NAME',
        help=f'some of: {"; ".join(VARIANTS)} (default: all but the slowest)',
    )
    parser.add_argument('--horizons', nargs='+', type=int, default=[25, 50], metavar='T')
    parser.add_argument('--episodes', type=int, default=10, help='of each cell')
    parser.add_argument('--seed', type=int, default=EVALUATION_SEED, help='of the first episode')
    parser.add_argument('--full', action='store_true', help='all planners, 60 episodes')
    parser.add_argument(
        '--replan-every', type=int, default=5, metavar='N', help='control periods between replans'
    )
    parser.add_argument('--open-loop', action='store_true', help='also execute whole first plans')
    parser.add_argument('--workers', type=int, default=2, help='1 where times are to be quoted')
    parser.add_argument('--no-speed', action='store_true', help='leave out the iteration times')
    parser.add_argument('--output', type=Path, default=Path('out/bench'))
    options = parser.parse_args(arguments)
    if options.planners is None:
        options.planners = [
            name for name, variant in VARIANTS.items() if options.full or not variant.full_only
        ]
    if options.full:
        options.episodes = max(options.episodes, 60)
    for name in ('episodes', 'workers', 'replan_every'):
        if getattr(options, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    if min(options.horizons) < 1:
        parser.error('--horizons must be at least 1')
    return options


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """The table's cells; every planner gets the same episodes."""
    seeds = tuple(range(options.seed, options.seed + options.episodes))
    loops = [options.replan_every, OPEN_LOOP] if options.open_loop else [options.replan_every]
    return [
        Cell(options.task, variant, horizon, seeds, replan_every)
        for replan_every, variant, horizon in product(loops, options.planners, options.horizons)
    ]


def speed_rows(task: str) -> list[dict[str, Any]]:
    """Iteration times on one thread."""
    torch.set_num_threads(1)
    model, _ = load_model(find_model(task))
    kinds: tuple[DistanceKind, ...] = ('latent', 'time_to_reach')
    cases = list(product(kinds, SPEED_CANDIDATES, SPEED_HORIZONS))
    return [
        asdict(measure_iteration(task, goal_distance(model, kind), horizon, candidates))
        for kind, candidates, horizon in tqdm(cases, desc='speed', unit='case')
    ]


def paired_tests(results: Sequence[tuple[Cell, list[EpisodeRow]]]) -> list[dict[str, Any]]:
    """McNemar's test of the first planner against every other, horizon by horizon."""
    tests = []
    reference = results[0][0].variant
    for cell, rows in results:
        first = next(
            own
            for other, own in results
            if other.variant == reference
            and other.horizon == cell.horizon
            and other.replan_every == cell.replan_every
        )
        if cell.variant == reference:
            continue
        pairs = [(a.reached, b.reached) for a, b in zip(first, rows, strict=True)]
        tests.append(
            {
                'first': reference,
                'second': cell.variant,
                'horizon': cell.horizon,
                'closed_loop': cell.closed_loop,
                'only_first': sum(a and not b for a, b in pairs),
                'only_second': sum(b and not a for a, b in pairs),
                'p': mcnemar([a for a, _ in pairs], [b for _, b in pairs]),
            }
        )
    return tests


def write(
    options: argparse.Namespace,
    results: Sequence[tuple[Cell, list[EpisodeRow]]],
    speed: Sequence[dict[str, Any]],
) -> None:
    """Write results.json, tables and plots of what has been measured."""
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [summary(cell, episodes) for cell, episodes in results]
    tests = paired_tests(results) if results else []
    content = {
        'machine': machine(),
        'versions': versions(),
        'threads': 1,
        'workers': options.workers,
        'seeds': {
            'evaluation': [options.seed, options.seed + options.episodes - 1],
            'tuning_from': TUNING_SEED,
        },
        'budget_steps': 75,
        'replan_every_steps': options.replan_every,
        'rows': rows,
        'paired': tests,
        'speed': list(speed),
        'episodes': [
            {'planner': cell.variant, 'horizon': cell.horizon, 'closed_loop': cell.closed_loop}
            | {'episodes': [asdict(row) for row in episodes]}
            for cell, episodes in results
        ],
    }
    (options.output / 'results.json').write_text(json.dumps(content, indent=1) + '\n')
    sections = []
    if rows:
        sections += [success_table(rows), paired_table(tests)]
        closed = [row for row in rows if row['closed_loop']]
        plot_success(options.output / 'success.png', closed or rows)
    if speed:
        sections.append(speed_table(speed))
        plot_speed(options.output / 'speed.png', speed)
    text = '\n\n'.join(sections)
    (options.output / 'tables.md').write_text(text + '\n')
    print(text)
    print(f'\nWrote {options.output}/results.json, tables.md and plots')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; Ctrl-C writes what there is and exits with 130."""
    options = parse(arguments)
    results: list[tuple[Cell, list[EpisodeRow]]] = []
    speed: list[dict[str, Any]] = []
    status = 0
    try:
        find_model(options.task)
        if not options.no_speed:
            speed = speed_rows(options.task)
        cells = cells_of(options)
        with tqdm(total=len(cells), desc='cells', unit='cell') as bar:
            for cell, rows in run_cells(cells, options.workers):
                results.append((cell, rows))
                bar.update()
                reached = sum(row.reached for row in rows)
                bar.write(f'{cell.variant}, T = {cell.horizon}: {reached} of {len(rows)}')
    except CheckpointError as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nbenchmark: interrupted', file=sys.stderr)
        status = 130
    write(options, results, speed)
    return status


if __name__ == '__main__':
    sys.exit(main())
