"""GRASP as shipped against every other planner: who succeeds more often, and who is sooner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grasp_ros.benchmark.episodes.compute_budget import base_name
from grasp_ros.benchmark.run.variants import ABLATIONS, OWN, SHIPPED
from grasp_ros.benchmark.tables.results import RowData, by_horizon, row_content
from grasp_ros.benchmark.tables.statistics import mcnemar

LEVEL = 0.05


def is_rival(name: str) -> bool:
    """Whether a planner is none of GRASP's variants."""
    name = base_name(name)
    return name not in OWN and name not in ABLATIONS


def paired_tests(rows: Sequence[RowData]) -> list[dict[str, Any]]:
    """Exact McNemar tests over the episodes of all model seeds, horizon by horizon.

    The best rival is the one with the most successes, of these the one that plans for less time.
    Rows that have not the same episodes as GRASP's (in a run that was cut) are left out.
    """
    tests = []
    for (task, horizon, closed_loop), group in by_horizon(rows):
        shipped = _shipped(group)
        if shipped is None:
            continue
        others = [data for data in group if data is not shipped and _paired(shipped, data)]
        rivals = [data for data in others if is_rival(data.key[1])]
        best = min(rivals, key=_rank, default=None)
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
    """Times of GRASP beside those of the quickest rival, greed included, that is not behind it.

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
            if is_rival(data.key[1]) and _paired(shipped, data) and _not_behind(data, shipped)
        ]
        timed = [rival for rival in equal if rival['median_time_s'] is not None]
        rival = min(timed, key=lambda candidate: candidate['median_time_s'], default=None)
        own = row_content(shipped)
        names = ('success', 'median_time_s', 'first_solve_ms', 'replan_ms', 'steps_ratio')
        found.append(
            {
                'task': task,
                'horizon': horizon,
                'rival': rival and rival['planner'],
                'shipped': {name: own[name] for name in names},
                'rival_values': rival and {name: rival[name] for name in names},
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
    """Whether two rows have the same episodes on the same models."""
    return [(cell.model, cell.seeds) for cell, _ in first.cells] == [
        (cell.model, cell.seeds) for cell, _ in second.cells
    ]


def _not_behind(rival: RowData, shipped: RowData) -> bool:
    if sum(rival.reached) >= sum(shipped.reached):
        return True
    return mcnemar(rival.reached, shipped.reached) > LEVEL
