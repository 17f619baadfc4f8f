"""Benchmark results as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.run.cells import EpisodeRow
from grasp_ros.benchmark.run.variants import ABLATIONS, COMPARED, base_name, resolved
from grasp_ros.benchmark.tables.plots import plot_censored, plot_speed, plot_success
from grasp_ros.benchmark.tables.results import (
    NOTES,
    RowData,
    censored_curves,
    paired_tests,
    row_content,
    time_comparison,
)
from grasp_ros.machine import machine, versions

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
    """GRASP's time beside the quickest baseline's that is not behind it."""
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


def content_of(
    rows: Sequence[RowData],
    speed: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
    notes: Mapping[str, str] = NOTES,
) -> dict[str, Any]:
    """The content of results.json.

    Args:
        rows: of the tables.
        speed: rows of the iteration times.
        run: how it was run: seeds, models, workers, command.
        notes: what the figures mean.
    """
    written = [(data.key[1], row_content(data)) for data in rows]
    return {
        'machine': machine(),
        'versions': versions(),
        'threads': 1,
        **run,
        'notes': notes,
        'rows': [content for name, content in written if base_name(name) in COMPARED],
        'ablations': [content for name, content in written if name in ABLATIONS],
        'paired': paired_tests(rows),
        'time_comparison': time_comparison(rows),
        'censored': censored_curves(rows),
        'speed': list(speed),
        'settings': {data.key[1]: _settings(data) for data in rows},
        'episodes': [entry for data in rows for entry in _episodes(data)],
    }


def write(folder: Path, content: Mapping[str, Any]) -> str:
    """Write all files of `content_of` to `folder`; the text of the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'results.json').write_text(compact_json(content))
    sections = []
    if content['rows']:
        sections.append(success_tables(content['rows'], content['paired'], 'Planners'))
    if len(content['ablations']) > len({where(row) for row in content['ablations']}):
        sections.append(success_tables(content['ablations'], content['paired'], 'Ablations'))
    if content['time_comparison']:
        sections.append(time_table(content['time_comparison']))
    if content['speed']:
        sections.append(speed_table(content['speed']))
        plot_speed(folder / 'speed.png', content['speed'])
    for task, closed_loop in dict.fromkeys(
        (row['task'], row['closed_loop']) for row in content['rows']
    ):
        _plot(folder, content, task, closed_loop)
    text = '\n\n'.join(sections)
    (folder / 'tables.md').write_text(text + '\n')
    return text


def _plot(folder: Path, content: Mapping[str, Any], task: str, closed_loop: bool) -> None:
    """Success and time of a task, in closed loop or of whole first plans."""

    def shown(row: Mapping[str, Any]) -> bool:
        return (row['task'], row['closed_loop']) == (task, closed_loop)

    ending = f'{task}{"" if closed_loop else "_open_loop"}.png'
    plot_success(folder / f'success_{ending}', list(filter(shown, content['rows'])))
    curves = [
        curve for curve in filter(shown, content['censored']) if curve['planner'] in COMPARED
    ]
    if curves:
        plot_censored(folder / f'time_{ending}', curves)


def where(row: Mapping[str, Any]) -> tuple[str, int, bool]:
    """Task, horizon and loop of a row."""
    return row['task'], row['horizon'], row['closed_loop']


def _settings(data: RowData) -> dict[str, Any]:
    cell = data.cells[0][0]
    return {
        'planner': cell.planner,
        **asdict(resolved(cell.planner, cell.options)),
    }


def _episodes(data: RowData) -> list[dict[str, Any]]:
    """Each episode of a row, model by model, as lists."""
    task, planner, horizon, closed_loop = data.key
    names = ['seed', 'reached', 'imagined', 'steps', 'final_distance_px', 'solves']
    common = {field.name for field in fields(EpisodeRow)}
    names += [field.name for field in fields(data.episodes[0]) if field.name not in common]
    return [
        {
            'task': task,
            'planner': planner,
            'horizon': horizon,
            'closed_loop': closed_loop,
            'model': position,
            **{
                name: [getattr(episode, name) for episode in result.episodes]
                for name in names
            },
        }
        for position, (_, result) in enumerate(data.cells)
    ]


def compact_json(content: Mapping[str, Any]) -> str:
    """JSON with one line for each entry of its lists."""
    parts = []
    for name, value in content.items():
        if isinstance(value, list) and value:
            lines = ',\n  '.join(json.dumps(entry) for entry in value)
            parts.append(f' {json.dumps(name)}: [\n  {lines}\n ]')
        else:
            parts.append(f' {json.dumps(name)}: {json.dumps(value)}')
    return '{\n' + ',\n'.join(parts) + '\n}\n'
