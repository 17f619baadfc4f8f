"""Settings of every planner, tried with equal compute budget on the tuning seeds.

Each planner gets eight settings. Picked is the quickest one whose successes are at most two fewer
than its best one's; the picks are entered in `variants` by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.run.cells import Cell, CellResult, decode_result, run_cell
from grasp_ros.benchmark.run.timing import Timing, decode_timing, time_cell
from grasp_ros.benchmark.run.variants import (
    INITIAL_GUESSES,
    SYNC,
    VARIANTS,
    WITH_GUESSES,
    tuning_seeds,
)
from grasp_ros.benchmark.run.workers import Cache, run_all
from grasp_ros.benchmark.tables.tables import tuning_table
from grasp_ros.machine import machine, versions
from grasp_ros.models.checkpoint import find_model, read_manifest

MARGIN = 2
RULE = (
    f'the setting with the shortest median replan of those whose successes are at most {MARGIN} '
    'fewer than the best one of the same planner'
)
Options = Mapping[str, Any]


def _crossed(first: Sequence[Options], second: Sequence[Options]) -> tuple[Options, ...]:
    return tuple({**a, **b} for a in first for b in second)


def _rounds(*pairs: tuple[int, int]) -> list[Options]:
    """Settings of samples and rounds; one in eight of CEM's samples is an elite."""
    return [{'samples': samples, 'rounds': rounds} for samples, rounds in pairs]


def _with_elites(settings: Sequence[Options]) -> tuple[Options, ...]:
    return tuple({**setting, 'elites': setting['samples'] // 8} for setting in settings)


LEAN = ((64, 3), (64, 6), (128, 3), (128, 6))

GRIDS: Mapping[str, tuple[Options, ...]] = {
    'grasp': _crossed(
        [{'iterations': 3}, {'iterations': 6}, {'iterations': 12}, {'iterations': 24}],
        [{'candidates': 1}, {'candidates': 3}],
    ),
    'greedy': tuple({'choices': 2**power} for power in range(3, 11)),
    'cem': _with_elites(_rounds(*LEAN, (64, 10), (128, 10), (300, 5), (300, 10))),
    'cem, coloured noise': _crossed(
        _with_elites(_rounds(*LEAN)), [{'noise_beta': 1.0}, {'noise_beta': 2.0}]
    ),
    'icem': _crossed(_rounds(*LEAN), [{'noise_beta': 1.0}, {'noise_beta': 2.5}]),
    'mppi': _crossed(_rounds(*LEAN), [{'temperature': 0.03}, {'temperature': 0.1}]),
    'gradient': _crossed(
        [{'iterations': 10}, {'iterations': 25}, {'iterations': 50}, {'iterations': 100}],
        [{'starts': 4}, {'starts': 8}],
    ),
    'latco': _crossed(
        [{'iterations': 10}, {'iterations': 25}, {'iterations': 50}, {'iterations': 100}],
        [{'growth': 0.1}, {'growth': 0.3}],
    ),
    'random_shooting': tuple({'proposals': 2**power} for power in range(4, 12)),
}
"""Tried on tasks whose model has a learned time to reach that is good; they minimise it."""

DISTANCES: tuple[Options, ...] = ({'goal_distance': 'latent'}, {'goal_distance': 'auto'})
PUSH_T_GRIDS: Mapping[str, tuple[Options, ...]] = {
    'grasp': _crossed(
        [
            {'iterations': 6},
            {'iterations': 24},
            {'iterations': 60, 'patience': 1, **SYNC},
            {'iterations': 6, 'action_step': 'gauss_newton'},
        ],
        DISTANCES,
    ),
    'greedy': _crossed([{'choices': 2**power} for power in (4, 6, 8, 10)], DISTANCES),
    'cem': _crossed(_with_elites(_rounds((64, 3), (64, 10), (128, 6), (300, 10))), DISTANCES),
    'icem': _crossed(_rounds((64, 3), (64, 10), (128, 6), (300, 10)), DISTANCES),
    'mppi': _crossed(_rounds((64, 3), (64, 10), (128, 6), (300, 10)), DISTANCES),
    'gradient': _crossed(
        [{'iterations': 10}, {'iterations': 25}, {'iterations': 50}, {'iterations': 100}],
        DISTANCES,
    ),
    'latco': _crossed(
        [{'iterations': 5}, {'iterations': 10}, {'iterations': 20}, {'iterations': 40}],
        DISTANCES,
    ),
    'random_shooting': _crossed(
        [{'proposals': 2**power} for power in (5, 7, 9, 11)], DISTANCES
    ),
}
"""Tried on Push-T, where which goal distance serves better is open."""


@dataclass(frozen=True)
class Setting:
    """A setting that was tried.

    Attributes:
        planner: its name in GRIDS.
        options: that the grid asks for.
        reached: episodes.
        episodes: all of them.
        replan_ms: median, or None where it was not measured.
        wall_s: of the success measurement.
    """

    planner: str
    options: Options
    reached: int
    episodes: int
    replan_ms: float | None
    wall_s: float


def tuning_cells(
    task: str,
    model: str,
    names: Sequence[str],
    horizon: int,
    seeds: tuple[int, ...],
    every: int,
    grids: Mapping[str, tuple[Options, ...]] = GRIDS,
) -> list[Cell]:
    """A cell for each setting of the planners `names` that have a grid; a seeded one has its own.

    Args:
        task: its name.
        model: folder.
        names: of planners; those without a grid are left out.
        horizon: T.
        seeds: of the episodes.
        every: control periods between replans.
        grids: settings of each planner.
    """
    return [
        Cell(
            task=task,
            name=name,
            planner=VARIANTS[name].planner,
            horizon=horizon,
            model=model,
            seeds=seeds,
            options=options,
            replan_every=every,
        )
        for name in names
        for options in grid(name, grids)
    ]


def grid(
    name: str, grids: Mapping[str, tuple[Options, ...]] = GRIDS
) -> tuple[Options, ...]:
    """The settings of a planner that are tried, none where it has no grid.

    Those of a seeded baseline are the baseline's, with GRASP's initial guesses added.
    """
    settings = grids.get(name.removesuffix(WITH_GUESSES), ())
    if WITH_GUESSES not in name:
        return settings
    return tuple({**INITIAL_GUESSES, **setting} for setting in settings)


def setting_of(cell: Cell, result: CellResult, timing: Timing | None) -> Setting:
    """Successes and times of a setting."""
    replans = sorted(timing.replans_s or timing.first_s) if timing is not None else []
    return Setting(
        planner=cell.name,
        options=cell.options,
        reached=sum(episode.reached for episode in result.episodes),
        episodes=len(result.episodes),
        replan_ms=round(1e3 * replans[len(replans) // 2], 3) if replans else None,
        wall_s=result.wall_s,
    )


def picks(settings: Sequence[Setting]) -> dict[str, Options]:
    """The picked options of each planner, by RULE; settings without times are not picked."""

    def planner(setting: Setting) -> str:
        return setting.planner

    picked = {}
    for name, group in groupby(sorted(settings, key=planner), key=planner):
        tried = list(group)
        enough = max(setting.reached for setting in tried) - MARGIN
        timed = [
            (setting.replan_ms, position)
            for position, setting in enumerate(tried)
            if setting.replan_ms is not None and setting.reached >= enough
        ]
        if timed:
            picked[name] = tried[min(timed)[1]].options
    return picked


@dataclass(frozen=True)
class Tuning:
    """Settings to try, and on which model.

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
