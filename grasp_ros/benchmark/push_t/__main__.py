"""The command of the Push-T table: planners at the paper's horizons, on a model and an oracle."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.push_t.probe import EPISODES, ProbeError
from grasp_ros.benchmark.push_t.push_t_cells import (
    ORACLE,
    PushTRow,
    digest_of,
    imagined_share,
    probe_for,
    run_cell,
    subject_of,
    time_cell,
)
from grasp_ros.benchmark.push_t.push_t_tables import NOTES, write
from grasp_ros.benchmark.run.cells import Cell, decode_result
from grasp_ros.benchmark.run.tuning import PUSH_T_GRIDS, Tuning, tune_and_write, tuning_cells
from grasp_ros.benchmark.run.variants import (
    ABLATIONS,
    BASELINES,
    COMPARED,
    INITIAL_GUESSES,
    LATENT,
    VARIANTS,
    WITH_GUESSES,
    Variant,
    evaluation_seeds,
    name_with,
    tuning_seeds,
    with_effort,
)
from grasp_ros.benchmark.run.workers import (
    Cache,
    Executor,
    Measurement,
    add_running,
    map_cells,
    measure_and_write,
)
from grasp_ros.benchmark.tables.tables import content_of
from grasp_ros.models.checkpoint import CheckpointError, find_model
from grasp_ros.sim.push_t.world import FRAME_SKIP

TASK, ORACLE_TASK = 'push_t', 'push_t_oracle'
ORACLE_PLANNERS = ('grasp', 'greedy', 'cem', 'mppi', 'random_shooting')
DESCRIPTION = """Planners on Push-T: goals H commands ahead on recorded motion, success in the
simulator and as imagined, whole first plans and receding horizon, with a learned model and with the
simulator's true dynamics. A run that was cut is continued with --resume."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(prog='push_t', description=DESCRIPTION)
    add = parser.add_argument
    add('--models', nargs='*', default=['push_t'], metavar='FOLDER',
        help='models of different training seeds, folders or names; none for the oracle alone; '
        'default push_t')
    add('--planners', nargs='+', choices=list(VARIANTS), metavar='NAME', default=list(COMPARED),
        help=f'some of: {"; ".join(VARIANTS)}; default: all but the ablations; a row that '
        'has, on Push-T, the settings of one before it is left out')
    add('--horizons', nargs='+', type=int, default=[25, 40, 50, 60, 70, 80], metavar='H',
        help=f'commands to the goal, multiples of {FRAME_SKIP}; default 25 40 50 60 70 80')
    add('--episodes', type=int, default=20, help='of each cell and model; default 20')
    add('--efforts', nargs='+', type=int, default=[1], metavar='N',
        help='run the planners with N times their iterations, rounds or tries; default 1')
    add('--loops', nargs='+', choices=['open', 'closed'], default=['open', 'closed'],
        help='whole first plans, receding horizon; default both')
    add('--replan-every', type=int, default=1, metavar='N',
        help='model steps between replans in closed loop; default 1')
    add('--ablations', action='store_true', help='run GRASP without each of its ingredients, too')
    add('--ablation-horizons', nargs='+', type=int, default=[40], metavar='H')
    add('--oracle-planners', nargs='*', choices=list(VARIANTS), metavar='NAME',
        default=list(ORACLE_PLANNERS),
        help=f'on the true dynamics; none for no oracle; default {" ".join(ORACLE_PLANNERS)}')
    add('--oracle-horizons', nargs='+', type=int, default=[25, 40], metavar='H')
    add('--oracle-loops', nargs='+', choices=['open', 'closed'], default=['open'],
        help='of the oracle, which is slow; default open')
    add('--tune', action='store_true',
        help='try eight settings of each planner on the tuning seeds instead, at the first horizon')
    add('--timed-episodes', type=int, default=2, metavar='N',
        help='episodes of the pass that measures times; 0 for none; default 2')
    add_running(parser, Path('out/bench_push_t'))
    add('--name', default='push_t', help='of the files in it; default push_t')
    options = parser.parse_args(arguments)
    for name in ('episodes', 'replan_every', 'workers'):
        if getattr(options, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    if min(options.efforts) < 1:
        parser.error('--efforts must be at least 1')
    if options.timed_episodes < 0:
        parser.error('--timed-episodes must not be negative')
    for name in ('horizons', 'ablation_horizons', 'oracle_horizons'):
        if any(horizon < 1 or horizon % FRAME_SKIP for horizon in getattr(options, name)):
            parser.error(
                f'--{name.replace("_", "-")} must be positive multiples of {FRAME_SKIP}'
            )
    try:
        evaluation_seeds(max(0, len(options.models) - 1), options.episodes)
    except ValueError as error:
        parser.error(f'--episodes: {error}')
    if options.tune and not options.models:
        parser.error('--tune needs a model: name it with --models')
    if not options.models and not options.oracle_planners:
        parser.error('nothing to run: neither --models nor --oracle-planners')
    return options


class Run:
    """A run of the table: what was asked for, and what has been measured of it."""

    def __init__(
        self,
        options: argparse.Namespace,
        execute: Executor = map_cells,
        probe_episodes: int = EPISODES,
    ) -> None:
        """Find the models and list the cells; see `main`.

        Raises:
            CheckpointError: if a model cannot be found or used.
        """
        self._options = options
        self._probe_episodes = probe_episodes
        self._models = [str(find_model(name)) for name in options.models]
        self._seeds = tuning_seeds if options.tuning_seeds else evaluation_seeds
        self._folder = options.output / 'cache'
        self._probes: dict[str, ProbeError] = {}
        self._recorded: list[dict[str, Any]] = []
        self._measured = Measurement(
            self._learned_cells() + self._oracle_cells(),
            Cache(self._folder, options.resume, digest_of),
            partial(run_cell, cache=self._folder),
            partial(time_cell, cache=self._folder),
            partial(decode_result, row=PushTRow),
            execute,
        )

    def measure(self) -> None:
        """Fit the probes, replay in imagination, measure success, then times."""
        options = self._options
        for model in self._models:
            self._probes[model] = probe_for(
                model, self._folder, episodes=self._probe_episodes
            )[1]
        if self._models:
            self._recorded = [self._replayed(horizon) for horizon in sorted({*options.horizons})]
        self._measured.success(options.workers, options.ray)
        if options.timed_episodes:
            self._measured.times(self._timed_cells())

    def content(self) -> dict[str, Any]:
        """Content of the result file, from all that has been measured so far."""
        options = self._options
        run = {
            'workers': options.workers,
            'seeds': {
                'tuning' if options.tuning_seeds else 'evaluation': [
                    list(self._seeds(number, options.episodes))
                    for number in range(max(1, len(self._models)))
                ]
            },
            'models': [
                {'name': Path(model).name, 'sha256': digest_of(model)} for model in self._models
            ],
            'probes': [asdict(probe) for probe in self._probes.values()],
            'recorded_commands': self._recorded,
            'frame_skip': FRAME_SKIP,
            'replan_every_model_steps': options.replan_every,
            'horizon_mode': 'fixed' if options.fixed_horizon else 'shrinking',
        }
        return content_of(self._measured.rows(), [], run, NOTES)

    def _replayed(self, horizon: int) -> dict[str, Any]:
        """Imagined success of the recorded commands, the mean over all episodes."""
        steps = horizon // FRAME_SKIP
        shares = [
            imagined_share(
                subject_of(model, self._folder),
                self._seeds(number, self._options.episodes),
                steps,
            )
            for number, model in enumerate(self._models)
        ]
        return {'task': TASK, 'horizon': steps, 'imagined_by_model': shares,
                'imagined': round(statistics.fmean(shares), 4)}

    def _learned_cells(self) -> list[Cell]:
        options = self._options
        ablated = options.ablation_horizons if options.ablations else []
        return [
            self._cell(TASK, model, number, name, effort, horizon, loop)
            for loop in options.loops
            for horizon in sorted({*options.horizons, *ablated})
            for name, effort in planners_at(options, horizon)
            for number, model in enumerate(self._models)
        ]

    def _oracle_cells(self) -> list[Cell]:
        options = self._options
        return [
            self._cell(ORACLE_TASK, ORACLE, 0, name, 1, horizon, loop)
            for loop in options.oracle_loops
            for horizon in options.oracle_horizons
            for name in options.oracle_planners
        ]

    def _cell(
        self,
        task: str,
        model: str,
        number: int,
        name: str,
        effort: int,
        horizon: int,
        loop: str,
    ) -> Cell:
        options = self._options
        variants = VARIANTS if task == ORACLE_TASK else PUSH_T_VARIANTS
        variant = with_effort(variants[name], effort)
        return Cell(
            task=task,
            name=name_with(name, effort),
            planner=variant.planner,
            horizon=horizon // FRAME_SKIP,
            model=model,
            seeds=self._seeds(number, options.episodes),
            options=variant.options,
            replan_every=FRAME_SKIP * options.replan_every if loop == 'closed' else None,
            horizon_mode='fixed' if options.fixed_horizon else 'shrinking',
        )

    def _timed_cells(self) -> list[Cell]:
        """The first model's, in closed loop where that is asked for, with fewer episodes."""
        options = self._options
        seeds = self._seeds(0, options.timed_episodes)
        closed = 'closed' in options.loops
        return [
            replace(cell, seeds=seeds)
            for cell in self._measured.cells
            if cell.task == TASK and cell.model == self._models[0] and cell.closed_loop == closed
        ]


def planners_at(options: argparse.Namespace, horizon: int) -> list[tuple[str, int]]:
    """Planners to run at a horizon, and with how many times their effort."""
    compared = list(options.planners) if horizon in options.horizons else []
    planners = [(name, effort) for name in compared for effort in sorted({*options.efforts})]
    if options.ablations and horizon in options.ablation_horizons:
        planners += [(name, 1) for name in ABLATIONS if (name, 1) not in planners]
    return _distinct(planners)


def _distinct(planners: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Without those that have, on Push-T, all the settings of one before them."""
    seen: list[tuple[str, Any, int]] = []
    kept = []
    for name, effort in planners:
        variant = PUSH_T_VARIANTS[name]
        settings = (variant.planner, variant.options, effort)
        if settings not in seen:
            seen.append(settings)
            kept.append((name, effort))
    return kept


def tune_push_t(options: argparse.Namespace, probe_episodes: int = EPISODES) -> int:
    """Try the settings of each planner in closed loop; see `tune_and_write` and `main`."""
    model = str(find_model(options.models[0]))
    folder = options.output / 'cache'
    probe_for(model, folder, episodes=probe_episodes)
    horizon = options.horizons[0] // FRAME_SKIP
    cells = tuning_cells(
        TASK,
        model,
        options.planners,
        horizon,
        tuning_seeds(0, options.episodes),
        FRAME_SKIP * options.replan_every,
        PUSH_T_GRIDS,
    )
    tuning = Tuning(
        TASK,
        model,
        horizon,
        cells,
        partial(run_cell, cache=folder),
        partial(time_cell, cache=folder),
        partial(decode_result, row=PushTRow),
        Cache(folder, options.resume, digest_of),
    )
    return tune_and_write(tuning, options)


def main(
    arguments: Sequence[str] | None = None,
    execute: Executor = map_cells,
    probe_episodes: int = EPISODES,
) -> int:
    """Measure and write.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.
        execute: calls a function for every cell, as `map_cells` does.
        probe_episodes: of motion that pose probes are fitted on and tried on.

    Returns:
        The exit status: 0; 130 after Ctrl-C, 2 where something that it needs is missing.
    """
    options = parse(arguments)
    try:
        if options.tune:
            return tune_push_t(options, probe_episodes)
        run = Run(options, execute, probe_episodes)

        def finish() -> None:
            content = run.content()
            if content['rows']:
                print(write(options.output, options.name, content))
                print(f'\nWrote {options.output}/{options.name}.json, .md and plots')

        return measure_and_write(run.measure, finish, 'push_t')
    except (CheckpointError, ConnectionError, ImportError) as error:
        print(f'push_t: {error}', file=sys.stderr)
        return 2


PICKS: Mapping[str, Mapping[str, Any]] = {
    'grasp': {'iterations': 12, 'sync_every': 6, 'sync_steps': 10, **LATENT},
    'greedy': {'choices': 256, **LATENT},
    'cem': {'samples': 300, 'rounds': 10, 'elites': 37, **LATENT},
    'icem': {'samples': 128, 'rounds': 6, **LATENT},
    'mppi': {'samples': 64, 'rounds': 3, **LATENT},
    'gradient': {'iterations': 25, **LATENT},
    'latco': {'iterations': 10, **LATENT},
    'random_shooting': {'proposals': 512, **LATENT},
}
"""By planner of the registry, from `push_t --tune` (benchmark_results/tuning_push_t.md).

GRASP had four more settings than the others, tried later on the tuning seeds: longer syncs. These
reached 59 of 100 goals at H = 40 and 50, as many iterations without any 45
(benchmark_results/push_t_sync.md).
"""

AS_PUBLISHED = ('grasp, published',)
"""Rows whose settings are somebody else's."""


def _settled(name: str, variant: Variant) -> Variant:
    """A row with what was picked for its planner, in place of what was for other tasks.

    What makes a row of GRASP or of coloured noise what it is stays as it is.
    """
    if name in AS_PUBLISHED:
        return variant
    picked = PICKS[variant.planner]
    base = name.removesuffix(WITH_GUESSES)
    if base not in BASELINES:
        return replace(variant, options={**picked, **variant.options})
    coloured = {'noise_beta': variant.options['noise_beta']} if 'coloured' in name else {}
    guesses = INITIAL_GUESSES if name.endswith(WITH_GUESSES) else {}
    return replace(variant, options={**guesses, **picked, **coloured})


PUSH_T_VARIANTS: Mapping[str, Variant] = {
    name: _settled(name, variant) for name, variant in VARIANTS.items()
}


if __name__ == '__main__':
    sys.exit(main())
