"""Benchmark results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

Row = Mapping[str, Any]


def success_tables(rows: Sequence[Row], tests: Sequence[Row], title: str) -> str:
    """Success, way and time of each planner, one table for each task, loop and horizon.

    Args:
        rows: of the result file.
        tests: paired tests of GRASP as shipped against the others.
        title: what the planners are.
    """
    p_values = {_where(test, test['second']): test for test in tests}

    def table(row: Row) -> tuple[str, bool, int]:
        return row['task'], not row['closed_loop'], row['horizon']

    parts = []
    for (task, open_loop, horizon), group in groupby(sorted(rows, key=table), key=table):
        loop = 'whole first plans executed' if open_loop else 'receding horizon'
        lines = [
            f'### {title}: {task}, T = {horizon}, {loop}',
            '',
            '| planner | success (95 %) | by model | imagined | steps / optimal '
            '| planning time of the successes, s | first solve, ms | replan (quartiles), ms '
            '| iterations | predictor calls | memory, MB | only GRASP / only it, p |',
            '|---|---|---|---|---|---|---|---|---|---|---|---|',
        ]
        lines += [_line(row, p_values.get(_where(row, row['planner']))) for row in group]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def time_table(comparisons: Sequence[Row]) -> str:
    """GRASP's time beside the quickest rival's that is not behind it."""
    lines = [
        '### Time against the quickest rival that is not behind in success, greed included',
        '',
        '| task | T | planner | success | planning time of the successes, s | first solve, ms '
        '| replan, ms | steps / optimal |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for comparison in comparisons:
        where = f'| {comparison["task"]} | {comparison["horizon"]}'
        lines.append(f'{where} | **grasp** {_times(comparison["shipped"])}')
        if comparison['rival'] is None:
            lines.append(f'{where} | none with measured times | | | | | |')
        else:
            lines.append(f'{where} | {comparison["rival"]} {_times(comparison["rival_values"])}')
    return '\n'.join(lines)


def speed_table(rows: Sequence[Row]) -> str:
    """Iteration times, batched and as a loop."""
    lines = [
        '### One lifted iteration, batched over time and as a loop',
        '',
        '| model | device | run | goal distance | candidates | T | batched, ms (quartiles) '
        '| loop over time, ms (quartiles) | ratio | floor, ms |',
        '|---|---|---|---|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["model"]} | {row["device"]} | {row["execution"]}, {row["precision"]} '
        f'| {row["goal_distance"]} | {row["candidates"]} | {row["horizon"]} '
        f'| {_spread(row, "iteration")} | {_spread(row, "per_step_loop")} | {row["ratio"]:.1f} '
        f'| {row["floor_ms"]:.2f} |'
        for row in rows
        if 'iteration_ms' in row
    ]
    lines += [
        f'\nA full solve of {row["model"]} on {row["device"]} ({row["execution"]}, T = '
        f'{row["horizon"]}, {row["candidates"]} candidates, {row["iterations"]} iterations): '
        f'{_spread(row, "solve")} ms.'
        for row in rows
        if 'solve_ms' in row
    ]
    missing = [
        f'{row["model"]} on {row["device"]}, T = {row["horizon"]}'
        for row in rows
        if row.get('status') == 'not measured'
    ]
    if missing:
        lines.append(f'\nNot measured: {"; ".join(missing)}.')
    return '\n'.join(lines)


def _spread(row: Row, name: str) -> str:
    """Median and quartiles of a time in ms."""
    first, third = row[f'{name}_quartiles_ms']
    return f'{row[f"{name}_ms"]:.2f} ({first:.2f} to {third:.2f})'


def tuning_table(settings: Sequence[Row]) -> str:
    """Success and time of each setting of each planner, the picked one marked."""
    lines = [
        '| planner | setting | success | replan, ms | picked |',
        '|---|---|---|---|---|',
    ]
    for setting in settings:
        options = ', '.join(f'{name} {value}' for name, value in setting['options'].items())
        lines.append(
            f'| {setting["planner"]} | {options or "defaults"} | {setting["reached"]} of '
            f'{setting["episodes"]} | {_shown(setting["replan_ms"], ".1f")} '
            f'| {"yes" if setting["picked"] else ""} |'
        )
    return '\n'.join(lines)


def _where(row: Row, planner: str) -> tuple[str, str, int, bool]:
    return row['task'], planner, row['horizon'], row['closed_loop']


def _line(row: Row, test: Row | None) -> str:
    low, high = (round(100 * bound) for bound in row['success_ci'])
    by_model = ' / '.join(f'{100 * share:.0f}' for share in row['success_by_model'])
    quartiles = row['replan_quartiles_ms']
    between = '' if quartiles is None else f' ({quartiles[0]:.1f} to {quartiles[1]:.1f})'
    name = row['planner']
    paired = '' if test is None else (
        f'{test["only_first"]} / {test["only_second"]}, {test["p"]:.3g}'
    )
    if test is not None and test['best_rival']:
        name = f'**{name}** (best rival)'
    cells = [
        name,
        f'{100 * row["success"]:.1f} % ({low} to {high})',
        by_model,
        f'{100 * row["imagined"]:.0f} %',
        _shown(row['steps_ratio'], '.2f'),
        _shown(row['median_time_s'], '.3f'),
        _shown(row['first_solve_ms'], '.1f'),
        _shown(row['replan_ms'], '.1f') + between + ('*' if row['timing_cut'] else ''),
        f'{row["iterations"]:g}',
        f'{row["predictor_calls"]:g}',
        _shown(row['peak_memory_mb'], '.0f'),
        paired,
    ]
    return f'| {" | ".join(cells)} |'


def _times(values: Row) -> str:
    return (
        f'| {100 * values["success"]:.1f} % | {_shown(values["median_time_s"], ".3f")} '
        f'| {_shown(values["first_solve_ms"], ".1f")} | {_shown(values["replan_ms"], ".1f")} '
        f'| {_shown(values["steps_ratio"], ".2f")} |'
    )


def _shown(value: float | None, form: str) -> str:
    return '-' if value is None else f'{value:{form}}'
