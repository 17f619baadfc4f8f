"""The command `benchmark`: planners against each other on the same models and episodes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.episodes.timing import time_cell
from grasp_ros.benchmark.run.arguments import Measurement, measure_and_write, parse, planner_names
from grasp_ros.benchmark.run.cells import Cell, run_cell
from grasp_ros.benchmark.run.tuning import tune
from grasp_ros.benchmark.run.variants import TUNING_SEED, VARIANTS, evaluation_seeds, tuning_seeds
from grasp_ros.benchmark.run.workers import Cache
from grasp_ros.benchmark.speed.suite import speed_rows
from grasp_ros.benchmark.tables.tables import content_of, write
from grasp_ros.models.checkpoint import CheckpointError, find_model, read_manifest


class Run:
    """A benchmark run: what was asked for, and what has been measured of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Find the models and list the cells.

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
        self._measured = Measurement(self._success_cells(), cache, run_cell, time_cell)
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
        """What results.json says of all that has been measured so far."""
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


def compare(options: argparse.Namespace) -> int:
    """Measure and write; Ctrl-C writes what there is and gives 130.

    Raises:
        CheckpointError: if a model cannot be found or used.
        ConnectionError: if there is no Ray cluster where one was named.
        ImportError: if Ray is not installed.
    """
    run = Run(options)

    def finish() -> None:
        print(write(options.output, run.content()))
        print(f'\nWrote {options.output}/results.json, tables.md and plots')

    return measure_and_write(run.measure, finish, 'benchmark')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark or the tuning; 2 where something that it needs is missing."""
    options = parse(arguments)
    try:
        return tune(options) if options.tune else compare(options)
    except (CheckpointError, ConnectionError, ImportError) as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
