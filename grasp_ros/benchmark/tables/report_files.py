"""Writes results.json, tables.md and the plots of a benchmark run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.episodes.compute_budget import base_name
from grasp_ros.benchmark.run.cells import EpisodeRow
from grasp_ros.benchmark.run.variants import ABLATIONS, COMPARED
from grasp_ros.benchmark.tables.comparison import censored_curves, paired_tests, time_comparison
from grasp_ros.benchmark.tables.plots import plot_censored, plot_speed, plot_success
from grasp_ros.benchmark.tables.results import NOTES, RowData, row_content
from grasp_ros.benchmark.tables.tables import speed_table, success_tables, time_table
from grasp_ros.machine import machine, versions
from grasp_ros.planning.registry import PLANNERS


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
        **asdict(PLANNERS[cell.planner].config(**cell.options)),
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
