"""From cells to the rows of the result file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from scipy.stats import binomtest

from grasp_ros.benchmark.run.cells import Cell, CellResult, EpisodeRow
from grasp_ros.benchmark.run.timing import Timing
from grasp_ros.benchmark.run.variants import ABLATIONS, OWN, SHIPPED, base_name

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


def success_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's confidence interval of a success rate, as (low, high) in [0, 1]."""
    interval = binomtest(successes, trials).proportion_ci(confidence, method='wilson')
    return float(interval.low), float(interval.high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact McNemar test of two planners on the same episodes.

    Args:
        first: success of one planner in each episode.
        second: success of the other in the same episodes, in the same order.

    Returns:
        The two-sided p-value; 1 where they never differ.

    Raises:
        ValueError: if the numbers of episodes differ.
    """
    if len(first) != len(second):
        raise ValueError(f'{len(first)} and {len(second)} episodes cannot be paired')
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


LEVEL = 0.05


def is_baseline(name: str) -> bool:
    """Return whether a planner is none of GRASP's variants."""
    name = base_name(name)
    return name not in OWN and name not in ABLATIONS


def paired_tests(rows: Sequence[RowData]) -> list[dict[str, Any]]:
    """Exact McNemar tests over the episodes of all model seeds, horizon by horizon.

    The best baseline is the one with the most successes, of these the one that plans for less time.
    Rows that have not the same episodes as GRASP's (in a run that was cut) are left out.
    """
    tests = []
    for (task, horizon, closed_loop), group in by_horizon(rows):
        shipped = _shipped(group)
        if shipped is None:
            continue
        others = [data for data in group if data is not shipped and _paired(shipped, data)]
        baselines = [data for data in others if is_baseline(data.key[1])]
        best = min(baselines, key=_rank, default=None)
        for data in others:
            pairs = list(zip(shipped.reached, data.reached, strict=True))
            tests.append(
                {
                    'task': task,
                    'horizon': horizon,
                    'closed_loop': closed_loop,
                    'first': SHIPPED,
                    'second': data.key[1],
                    'only_first': sum(a and not b for a, b in pairs),
                    'only_second': sum(b and not a for a, b in pairs),
                    'p': mcnemar([a for a, _ in pairs], [b for _, b in pairs]),
                    'best_rival': data is best,
                }
            )
    return tests


def time_comparison(rows: Sequence[RowData]) -> list[dict[str, Any]]:
    """Times of GRASP beside those of the quickest baseline, greed included, that is not behind it.

    Not behind: it succeeds as often or more often, or the paired test finds no difference at 5 %.
    The quickest is the one with the shortest median planning time of its successes.
    """
    found = []
    for (task, horizon, closed_loop), group in by_horizon(rows):
        shipped = _shipped(group)
        if shipped is None or not closed_loop:
            continue
        equal = [
            row_content(data)
            for data in group
            if is_baseline(data.key[1]) and _paired(shipped, data) and _not_behind(data, shipped)
        ]
        timed = [row for row in equal if row['median_time_s'] is not None]
        quickest = min(timed, key=lambda candidate: candidate['median_time_s'], default=None)
        own = row_content(shipped)
        names = ('success', 'median_time_s', 'first_solve_ms', 'replan_ms', 'steps_ratio')
        found.append(
            {
                'task': task,
                'horizon': horizon,
                'rival': quickest and quickest['planner'],
                'shipped': {name: own[name] for name in names},
                'rival_values': quickest and {name: quickest[name] for name in names},
            }
        )
    return found


def censored_curves(rows: Sequence[RowData]) -> list[dict[str, Any]]:
    """Planning times at which episodes were reached, one list for each row with times.

    The share of episodes reached within planning time t is the number of times up to t over all
    episodes; those that failed never are.
    """
    curves = []
    for data in rows:
        times = [data.planning_s(episode) for episode in data.episodes if episode.reached]
        known = sorted(round(time, 5) for time in times if time is not None)
        if data.timing is None or len(known) < len(times):
            continue
        task, planner, horizon, closed_loop = data.key
        curves.append(
            {
                'task': task,
                'planner': planner,
                'horizon': horizon,
                'closed_loop': closed_loop,
                'episodes': len(data.episodes),
                'reached_after_s': known,
            }
        )
    return curves


def _shipped(group: Sequence[RowData]) -> RowData | None:
    return next((data for data in group if data.key[1] == SHIPPED), None)


def _rank(data: RowData) -> tuple[int, float]:
    """More successes come first, then shorter planning."""
    time_s = row_content(data)['median_time_s']
    return -sum(data.reached), float('inf') if time_s is None else time_s


def _paired(first: RowData, second: RowData) -> bool:
    """Return whether two rows have the same episodes on the same models."""
    return [(cell.model, cell.seeds) for cell, _ in first.cells] == [
        (cell.model, cell.seeds) for cell, _ in second.cells
    ]


def _not_behind(baseline: RowData, shipped: RowData) -> bool:
    if sum(baseline.reached) >= sum(shipped.reached):
        return True
    return mcnemar(baseline.reached, shipped.reached) > LEVEL
