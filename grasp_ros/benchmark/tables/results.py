"""From cells to the rows of the result file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from grasp_ros.benchmark.episodes.timing import Timing
from grasp_ros.benchmark.run.cells import Cell, CellResult, EpisodeRow
from grasp_ros.benchmark.tables.statistics import success_interval

RowKey = tuple[str, str, int, bool]

NOTES = {
    'success': 'measured with all episodes of a cell side by side, in lock step with the '
    'simulator: closed loop: within 5 px of the goal, for 10 steps after the one of arrival, all '
    "within the episode's budget of 1.5 times the time-optimal steps and 20 more; open loop: the "
    'whole first plan executed, its end within 5 px',
    'imagined': 'the rollout of the last plan ends within the goal distance that 5 px of motion '
    "have by the manifest's calibration of one model step: what the model believed",
    'times': 'measured in a pass of its own, one problem at a time with the real controller on '
    'one pinned thread, nothing else running that the benchmark started',
    'planning_time': 'of an episode: the median first solve and, for each of its further solves, '
    'the mean replan of the timed pass',
    'success_ci': "Wilson's 95 % interval over the episodes of all model seeds",
}


@dataclass(frozen=True, eq=False)
class RowData:
    """All that is known of one row: its cells, one for each model seed, and its times.

    Attributes:
        key: task, planner, horizon and whether in closed loop.
        cells: with their results, in the order of the models.
        timing: of the planner at the horizon, if measured.
    """

    key: RowKey
    cells: Sequence[tuple[Cell, CellResult]]
    timing: Timing | None = None
    episodes: Sequence[EpisodeRow] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, 'episodes', [row for _, result in self.cells for row in result.episodes]
        )

    @property
    def reached(self) -> list[bool]:
        """Success of each episode, model by model."""
        return [row.reached for row in self.episodes]

    def planning_s(self, episode: EpisodeRow) -> float | None:
        """Planning time of an episode in seconds, or None without measured times."""
        if self.timing is None or not self.timing.first_s:
            return None
        first = statistics.median(self.timing.first_s)
        more = max(0, episode.solves - 1)
        if not more:
            return first if episode.solves else 0.0
        if not self.timing.replans_s:
            return None
        return first + more * statistics.fmean(self.timing.replans_s)


def key_of(cell: Cell) -> RowKey:
    """The row that a cell belongs to."""
    return cell.task, cell.name, cell.horizon, cell.closed_loop


def gather(
    cells: Sequence[Cell],
    results: Mapping[int, CellResult],
    timings: Mapping[RowKey, Timing],
) -> list[RowData]:
    """Rows in the order of their first cells, of all cells that have a result.

    Args:
        cells: asked for, model seeds in the same order for every planner.
        results: by position in `cells`.
        timings: by row, in closed loop; rows of whole plans take those of the same planner.
    """
    found: dict[RowKey, list[tuple[Cell, CellResult]]] = {}
    for position, cell in enumerate(cells):
        if position in results:
            found.setdefault(key_of(cell), []).append((cell, results[position]))
    return [
        RowData(key, own, timings.get((*key[:3], True))) for key, own in found.items()
    ]


def row_content(data: RowData) -> dict[str, Any]:
    """A row of the result file."""
    task, planner, horizon, closed_loop = data.key
    episodes = data.episodes
    successes = [episode for episode in episodes if episode.reached]
    low, high = success_interval(len(successes), len(episodes))
    solves = sum(episode.solves for episode in episodes)
    # Whole plans take all their steps, wherever the goal is.
    ratio = _median([row.steps / row.optimal_steps for row in successes]) if closed_loop else None
    planning = [data.planning_s(episode) for episode in successes]
    return {
        'task': task,
        'planner': planner,
        'horizon': horizon,
        'episodes': len(episodes),
        'success': _share([episode.reached for episode in episodes]),
        'success_ci': [round(low, 4), round(high, 4)],
        'success_by_model': [
            _share([episode.reached for episode in result.episodes]) for _, result in data.cells
        ],
        'model_seeds': len(data.cells),
        'imagined': _share([episode.imagined for episode in episodes]),
        'median_time_s': _median([time for time in planning if time is not None]),
        'median_steps': _median([episode.steps for episode in successes]),
        'steps_ratio': ratio,
        'iterations': round(sum(episode.iterations for episode in episodes) / max(1, solves), 1),
        'solves': round(solves / len(episodes), 1),
        'predictor_calls': _mean([result.predictor_calls for _, result in data.cells]),
        **_times(data.timing),
        'wall_s': round(sum(result.wall_s for _, result in data.cells), 1),
        'closed_loop': closed_loop,
    }


def by_horizon(rows: Sequence[RowData]) -> list[tuple[tuple[str, int, bool], list[RowData]]]:
    """Rows of one task, horizon and loop together: the planners to be compared."""

    def compared(data: RowData) -> tuple[str, int, bool]:
        return data.key[0], data.key[2], data.key[3]

    ordered = sorted(rows, key=compared)
    return [(key, list(group)) for key, group in groupby(ordered, key=compared)]


def _times(timing: Timing | None) -> dict[str, Any]:
    if timing is None:
        names = ('first_solve_ms', 'first_solve_quartiles_ms', 'replan_ms', 'replan_quartiles_ms')
        return dict.fromkeys([*names, 'timed_replans', 'timing_cut', 'peak_memory_mb'])
    first, replan = _quartiles_ms(timing.first_s), _quartiles_ms(timing.replans_s)
    return {
        'first_solve_ms': first and first[1],
        'first_solve_quartiles_ms': first and [first[0], first[2]],
        'replan_ms': replan and replan[1],
        'replan_quartiles_ms': replan and [replan[0], replan[2]],
        'timed_replans': len(timing.replans_s),
        'timing_cut': timing.cut,
        'peak_memory_mb': timing.peak_memory_mb,
    }


def _quartiles_ms(seconds: Sequence[float]) -> list[float] | None:
    if not seconds:
        return None
    return [round(1e3 * float(value), 3) for value in np.percentile(seconds, (25, 50, 75))]


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(values), 1)


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 4) if values else None
