"""`benchmark --tune`: runs the grids and writes what each setting gave, and the picks."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.cache import Cache
from grasp_ros.benchmark.cells import CellResult, decode_result, run_cell
from grasp_ros.benchmark.report import machine, versions
from grasp_ros.benchmark.running import run_all
from grasp_ros.benchmark.seeds import tuning_seeds
from grasp_ros.benchmark.tables import tuning_table
from grasp_ros.benchmark.timing import Timing, decode_timing, time_cell
from grasp_ros.benchmark.tuning import RULE, picks, setting_of, tuning_cells
from grasp_ros.models.checkpoint import find_model, read_manifest


def tune(options: argparse.Namespace) -> int:
    """Try all settings at the first horizon; Ctrl-C writes what there is and gives 130."""
    task, horizon = options.tasks[0], options.horizons[0]
    model = str(find_model(options.models[0] if options.models else task))
    seeds = tuning_seeds(0, options.episodes)
    cells = tuning_cells(task, model, options.planners, horizon, seeds, options.replan_every)
    timed = [replace(cell, seeds=seeds[: options.timed_episodes]) for cell in cells]
    cache = Cache(options.output / 'cache', options.resume)
    results: dict[int, CellResult] = {}
    timings: dict[int, Timing] = {}
    status = 0
    try:
        for position, result in run_all(
            'success', run_cell, decode_result, cells, cache, options.workers, options.ray
        ):
            results[position] = result
        for position, timing in run_all(
            'times', time_cell, decode_timing, timed, cache, workers=1
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
        'task': task,
        'model_sha256': read_manifest(Path(model)).weights_sha256,
        'horizon': horizon,
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
