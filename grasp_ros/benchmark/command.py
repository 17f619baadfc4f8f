"""The command `benchmark`: planners against each other on the same models and episodes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.run.cells import Cell, run_cell
from grasp_ros.benchmark.run.timing import time_cell
from grasp_ros.benchmark.run.tuning import GRIDS, tune
from grasp_ros.benchmark.run.variants import (
    ABLATIONS,
    COMPARED,
    TUNING_SEED,
    VARIANTS,
    evaluation_seeds,
    tuning_seeds,
)
from grasp_ros.benchmark.run.workers import (
    Cache,
    Executor,
    Measurement,
    add_running,
    map_cells,
    measure_and_write,
)
from grasp_ros.benchmark.speed.suite import speed_rows
from grasp_ros.benchmark.tables.tables import content_of, write
from grasp_ros.models.checkpoint import PRETRAINED, CheckpointError, find_model, read_manifest
from grasp_ros.sim.registry import ROOMS

HARD_TASKS = ('two_room_drawn_door', 'maze')
DESCRIPTION = """Planners against each other on the same models and episodes. Without arguments a
short run of some minutes; --full measures what the committed tables hold. A run that was cut is
continued with --resume."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line arguments, what was left open filled in."""
    parser = argparse.ArgumentParser(prog='benchmark', description=DESCRIPTION)
    add = parser.add_argument
    add('--tasks', nargs='+', choices=list(ROOMS), metavar='TASK',
        help=f'some of {", ".join(ROOMS)}; default: the drawn ones that have a model here, else '
        'two_room')
    add('--models', nargs='+', metavar='FOLDER',
        help='models of the one task, folders or names; default: the one with the name of the task')
    add('--planners', nargs='+', choices=list(VARIANTS), metavar='NAME',
        help=f'some of: {"; ".join(VARIANTS)}')
    add('--horizons', nargs='+', type=int, metavar='T', help='model steps; default 25 50')
    add('--episodes', type=int, help='of each cell and model; default 10, with --full 34')
    add('--full', action='store_true',
        help='all planners, horizons 25, 50 and 80, whole first plans and ablations too')
    add('--ablations', action='store_true', help='run GRASP without each of its ingredients, too')
    add('--ablation-horizons', nargs='+', type=int, default=[50], metavar='T')
    add('--open-loop', action='store_true', help='execute whole first plans, too')
    add('--open-loop-only', action='store_true', help='execute whole first plans, never replan')
    add('--replan-every', type=int, default=5, metavar='N', help='control periods; default 5')
    add('--timed-episodes', type=int, default=None, metavar='N',
        help='episodes of the pass that measures times; 0 for none; default 1, with --full 3')
    add('--tune', action='store_true',
        help='try many settings of each planner, seeded ones too where named, on the tuning seeds '
        'instead, on the first model, task and horizon (default 50)')
    add('--no-speed', action='store_true', help='leave out the times of one iteration')
    add_running(parser, Path('out/bench'))
    options = parser.parse_args(arguments)
    _fill(options)
    _check(parser, options)
    return options


def _fill(options: argparse.Namespace) -> None:
    full = options.full
    if options.tasks is None:
        options.tasks = [name for name in HARD_TASKS if (PRETRAINED / name).is_dir()]
        options.tasks = options.tasks or ['two_room']
    if options.planners is None:
        options.planners = list(GRIDS) if options.tune else [
            name for name, variant in COMPARED.items() if full or variant.short
        ]
    if options.horizons is None:
        options.horizons = [50] if options.tune else [25, 50, 80] if full else [25, 50]
    if options.episodes is None:
        options.episodes = 34 if full else 20 if options.tune else 10
    if options.timed_episodes is None:
        options.timed_episodes = 3 if full else 1
    options.open_loop |= full or options.open_loop_only
    options.ablations |= full


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    for name in ('episodes', 'workers', 'replan_every'):
        if getattr(options, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    if options.timed_episodes < 0:
        parser.error('--timed-episodes must not be negative')
    if options.open_loop_only and (options.ablations or options.tune):
        parser.error('--open-loop-only: ablations and tuning are closed loops')
    if min(*options.horizons, *options.ablation_horizons) < 1:
        parser.error('horizons must be at least 1')
    if options.models is not None and len(options.tasks) != 1:
        parser.error('--models are of one task: name it with --tasks')
    try:
        evaluation_seeds(len(options.models or [0]) - 1, options.episodes)
    except ValueError as error:
        parser.error(f'--episodes: {error}')


def planner_names(options: argparse.Namespace, horizon: int) -> list[str]:
    """Planners to run in closed loop at a horizon."""
    if options.open_loop_only:
        return []
    names = list(options.planners) if horizon in options.horizons else []
    if options.ablations and horizon in options.ablation_horizons:
        names += [name for name in ABLATIONS if name not in names]
    return names


class Run:
    """A benchmark run: what was asked for, and what has been measured of it."""

    def __init__(self, options: argparse.Namespace, execute: Executor = map_cells) -> None:
        """Find the models and list the cells; `execute` calls a function for every cell.

        Raises:
            CheckpointError: if a model cannot be found or used.
        """
        self._options = options
        self._seeds = tuning_seeds if options.tuning_seeds else evaluation_seeds
        self._models = {
            task: [str(find_model(name)) for name in options.models or [task]]
            for task in options.tasks
        }
        self._digests = {
            folder: read_manifest(Path(folder)).weights_sha256
            for folders in self._models.values()
            for folder in folders
        }
        cache = Cache(options.output / 'cache', options.resume)
        self._measured = Measurement(
            self._success_cells(), cache, run_cell, time_cell, execute=execute
        )
        self._speed: list[dict[str, Any]] = []

    def measure(self) -> None:
        """Measure success, then times, then the speed of one iteration."""
        options = self._options
        self._measured.success(options.workers, options.ray)
        if options.timed_episodes:
            self._measured.times(self._timed_cells())
        if not options.no_speed:
            name = options.tasks[0]
            self._speed = speed_rows(name, Path(self._models[name][0]), full=options.full)

    def content(self) -> dict[str, Any]:
        """Content of results.json, from all that has been measured so far."""
        return content_of(self._measured.rows(), self._speed, self._description())

    def _success_cells(self) -> list[Cell]:
        options = self._options
        horizons = sorted({*options.horizons, *(
            options.ablation_horizons if options.ablations else ()
        )})
        closed = [
            (horizon, name) for horizon in horizons for name in planner_names(options, horizon)
        ]
        whole = list(product(options.horizons, options.planners)) if options.open_loop else []
        return [
            self._cell(task, number, horizon, name, loop)
            for loop, pairs in ((options.replan_every, closed), (None, whole))
            for task in options.tasks
            for number in range(len(self._models[task]))
            for horizon, name in pairs
        ]

    def _cell(
        self, task: str, number: int, horizon: int, name: str, replan_every: int | None
    ) -> Cell:
        variant = VARIANTS[name]
        return Cell(
            task=task,
            name=name,
            planner=variant.planner,
            horizon=horizon,
            model=self._models[task][number],
            seeds=self._seeds(number, self._options.episodes),
            options=variant.options,
            replan_every=replan_every,
            horizon_mode='fixed' if self._options.fixed_horizon else 'shrinking',
        )

    def _timed_cells(self) -> list[Cell]:
        """The closed loops, if any, on the first model, with fewer episodes."""
        seeds = self._seeds(0, self._options.timed_episodes)
        first = {folders[0] for folders in self._models.values()}
        return [
            replace(cell, seeds=seeds)
            for cell in self._measured.cells
            if cell.closed_loop != self._options.open_loop_only and cell.model in first
        ]

    def _description(self) -> dict[str, Any]:
        options = self._options
        return {
            'workers': options.workers,
            'seeds': {
                'tuning' if options.tuning_seeds else 'evaluation': {
                    task: [
                        list(self._seeds(number, options.episodes))
                        for number in range(len(folders))
                    ]
                    for task, folders in self._models.items()
                },
                'timed': list(self._seeds(0, options.timed_episodes)),
                'tuning_from': TUNING_SEED,
            },
            'models': {
                task: [
                    {'name': Path(folder).name, 'sha256': self._digests[folder]}
                    for folder in folders
                ]
                for task, folders in self._models.items()
            },
            'replan_every_steps': options.replan_every,
            'horizon_mode': 'fixed' if options.fixed_horizon else 'shrinking',
        }


def compare(options: argparse.Namespace, execute: Executor = map_cells) -> int:
    """Measure and write; Ctrl-C writes what there is and gives 130.

    Args:
        options: of the command line.
        execute: calls a function for every cell.

    Raises:
        CheckpointError: if a model cannot be found or used.
        ConnectionError: if there is no Ray cluster where one was named.
        ImportError: if Ray is not installed.
    """
    run = Run(options, execute)

    def finish() -> None:
        print(write(options.output, run.content()))
        print(f'\nWrote {options.output}/results.json, tables.md and plots')

    return measure_and_write(run.measure, finish, 'benchmark')


def main(arguments: Sequence[str] | None = None, execute: Executor = map_cells) -> int:
    """Run the benchmark or the tuning.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.
        execute: calls a function for every cell, as `map_cells` does.

    Returns:
        The exit status: 0; 130 after Ctrl-C, 2 where something that it needs is missing.
    """
    options = parse(arguments)
    try:
        return tune(options) if options.tune else compare(options, execute)
    except (CheckpointError, ConnectionError, ImportError) as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
