"""The benchmark's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.episodes.timing import Timing, decode_timing
from grasp_ros.benchmark.run.cells import Cell, CellResult, decode_result
from grasp_ros.benchmark.run.tuning import GRIDS
from grasp_ros.benchmark.run.variants import ABLATIONS, COMPARED, VARIANTS, evaluation_seeds
from grasp_ros.benchmark.run.workers import Cache, run_all
from grasp_ros.benchmark.tables.results import RowData, RowKey, gather, key_of
from grasp_ros.models.checkpoint import PRETRAINED
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


def add_running(parser: argparse.ArgumentParser, output: Path) -> None:
    """Add the options that every comparison has: how it is run, and where results go."""
    add = parser.add_argument
    add('--fixed-horizon', action='store_true', help='do not let the horizon shrink')
    add('--tuning-seeds', action='store_true',
        help='run the comparison on the tuning seeds, to choose what is on by default')
    add('--workers', type=int, default=2, help='processes that measure success; default 2')
    add('--ray', metavar='ADDRESS',
        help='measure success on the Ray cluster at HOST:6379 (or auto, local), where --workers '
        'are calls at once and the models lie in the same folders; times are measured here')
    add('--resume', action='store_true', help='take finished cells from OUTPUT/cache')
    add('--output', type=Path, default=output, help=f'folder; default {output}')


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


class Measurement:
    """Measures cells and keeps what it finds."""

    def __init__(
        self,
        cells: Sequence[Cell],
        cache: Cache,
        run: Callable[[Cell], CellResult],
        time: Callable[[Cell], Timing],
        decode: Callable[[Mapping[str, Any]], CellResult] = decode_result,
    ) -> None:
        """Measure `cells`.

        Args:
            cells: of the tables.
            cache: knows finished ones.
            run: measures success, in another process.
            time: measures times, in another process.
            decode: makes what `run` gives of its fields in JSON.
        """
        self.cells = cells
        self._cache = cache
        self._run, self._time, self._decode = run, time, decode
        self._results: dict[int, CellResult] = {}
        self._timings: dict[RowKey, Timing] = {}

    def success(self, workers: int, ray_address: str | None = None) -> None:
        """Measure success; see `run_all`."""
        for position, result in run_all(
            'success', self._run, self._decode, self.cells, self._cache, workers, ray_address
        ):
            self._results[position] = result

    def times(self, cells: Sequence[Cell]) -> None:
        """Measure times, one cell after the other; they hold for both loops of their rows."""
        for position, timing in run_all(
            'times', self._time, decode_timing, cells, self._cache, workers=1
        ):
            self._timings[(*key_of(cells[position])[:3], True)] = timing

    def rows(self) -> list[RowData]:
        """The rows of all cells that have a result."""
        return gather(self.cells, self._results, self._timings)


def measure_and_write(
    measure: Callable[[], None], write: Callable[[], None], command: str
) -> int:
    """Measure and write, also what there is after Ctrl-C, which gives 130, or a failure.

    Raises:
        ConnectionError: if there is no Ray cluster where one was named.
        ImportError: if Ray is not installed.
    """
    status = 0
    try:
        measure()
    except (ConnectionError, ImportError):
        raise
    except KeyboardInterrupt:
        print(f'\n{command}: interrupted; --resume goes on from here', file=sys.stderr)
        status = 130
    except Exception:
        write()
        raise
    write()
    return status
