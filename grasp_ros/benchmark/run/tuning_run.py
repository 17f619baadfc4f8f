"""`benchmark --tune`: runs the grids and writes what each setting gave, and the picks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.episodes.timing import Timing, decode_timing, time_cell
from grasp_ros.benchmark.run.cache import Cache
from grasp_ros.benchmark.run.cells import Cell, CellResult, decode_result, run_cell
from grasp_ros.benchmark.run.guesses import tuning_seeds
from grasp_ros.benchmark.run.running import run_all
from grasp_ros.benchmark.run.tuning import RULE, picks, setting_of, tuning_cells
from grasp_ros.benchmark.tables.tables import tuning_table
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import find_model, read_manifest


@dataclass(frozen=True)
class Tuning:
    """What is tuned on what.

    Attributes:
        task: its name.
        model: folder.
        horizon: T, model steps.
        cells: one for each setting; all on the same episodes.
        run: measures success.
        time: measures times.
        decode: makes what `run` gives of its fields in JSON.
        cache: keeps results.
    """

    task: str
    model: str
    horizon: int
    cells: Sequence[Cell]
    run: Callable[[Cell], CellResult]
    time: Callable[[Cell], Timing]
    decode: Callable[[Mapping[str, Any]], CellResult]
    cache: Cache


def tune(options: argparse.Namespace) -> int:
    """Try all settings of the command `benchmark` at the first horizon; see `tune_and_write`."""
    task, horizon = options.tasks[0], options.horizons[0]
    model = str(find_model(options.models[0] if options.models else task))
    seeds = tuning_seeds(0, options.episodes)
    cells = tuning_cells(task, model, options.planners, horizon, seeds, options.replan_every)
    cache = Cache(options.output / 'cache', options.resume)
    return tune_and_write(
        Tuning(task, model, horizon, cells, run_cell, time_cell, decode_result, cache), options
    )


def tune_and_write(tuning: Tuning, options: argparse.Namespace) -> int:
    """Try all settings; Ctrl-C writes what there is and gives 130.

    Args:
        tuning: what is tried.
        options: of the command: timed_episodes, workers, ray, output.
    """
    cells, cache = tuning.cells, tuning.cache
    seeds = cells[0].seeds if cells else ()
    timed = [replace(cell, seeds=seeds[: options.timed_episodes]) for cell in cells]
    results: dict[int, CellResult] = {}
    timings: dict[int, Timing] = {}
    status = 0
    try:
        for position, result in run_all(
            'success', tuning.run, tuning.decode, cells, cache, options.workers, options.ray
        ):
            results[position] = result
        for position, timing in run_all(
            'times', tuning.time, decode_timing, timed, cache, workers=1
        ):
            timings[position] = timing
    except KeyboardInterrupt:
        print('\nbenchmark: interrupted; --resume goes on from here', file=sys.stderr)
        status = 130
    settings = [
        setting_of(cell, results[position], timings.get(position))
        for position, cell in enumerate(cells)
        if position in results
    ]
    picked = picks(settings)
    content = {
        'machine': machine(),
        'versions': versions(),
        'task': tuning.task,
        'model_sha256': read_manifest(Path(tuning.model)).weights_sha256,
        'horizon': tuning.horizon,
        'tuning_seeds': list(seeds),
        'rule': RULE,
        'picks': picked,
        'settings': [
            asdict(setting) | {'picked': picked.get(setting.planner) == setting.options}
            for setting in settings
        ],
    }
    _write(options.output, content)
    return status


def _write(folder: Path, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f'tuning_{content["task"]}'
    (folder / f'{name}.json').write_text(json.dumps(content, indent=1) + '\n')
    table = tuning_table(content['settings'])
    (folder / f'{name}.md').write_text(table + '\n')
    print(f'{table}\n\nWrote {folder}/{name}.json and {name}.md')
