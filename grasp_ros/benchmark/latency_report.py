"""Rows, paired differences, tables and plot of the benchmark of latency compensation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from grasp_ros.benchmark.tables.results import mcnemar, success_interval

COMPENSATIONS = ('none', 'times', 'constant', 'estimated')
PERIODS = (0.5, 1.0, 2.0)
SUCCESSES = ('reached', 'precise')
MEASURES = ('steps', 'change', 'overshoot_cm')

Episode = dict[str, Any]
Row = dict[str, Any]


def summarise(episodes: Sequence[Episode]) -> list[Row]:
    """One row for each planning time and compensation that there are episodes of."""
    rows = []
    for periods, compensation in _cells(episodes):
        own = [entry for entry in episodes if _cell(entry) == (periods, compensation)]
        reached = [entry for entry in own if entry['reached']]
        row: Row = {'periods': periods, 'compensation': compensation, 'episodes': len(own)}
        for success in SUCCESSES:
            row[success] = sum(entry[success] for entry in own)
            interval = success_interval(row[success], len(own))
            row[f'{success}_ci'] = [round(bound, 3) for bound in interval]
        beyond = [entry['overshoot_cm'] for entry in own if entry['overshoot_cm'] is not None]
        row |= {
            'steps_over_optimum': _mean(
                [entry['steps'] - entry['optimal_steps'] for entry in reached], 2
            ),
            'change': _mean([entry['change'] for entry in own], 4),
            'overshoot_cm': _mean(beyond, 2),
            'delay_s': _mean([entry['delay_s'] for entry in own], 3),
        }
        rows.append(row)
    return rows


def paired(episodes: Sequence[Episode]) -> list[Row]:
    """Differences to no compensation on the same episodes.

    Of successes with McNemar's p-value, of measures the mean with its standard error: of steps on
    the episodes that both reached.
    """
    known = {(*_cell(entry), entry['seed']): entry for entry in episodes}
    rows = []
    for periods, compensation in _cells(episodes):
        pairs = [
            (entry, known[periods, 'none', entry['seed']])
            for entry in episodes
            if _cell(entry) == (periods, compensation)
            and (periods, 'none', entry['seed']) in known
        ]
        if compensation == 'none' or not pairs:
            continue
        row: Row = {'periods': periods, 'compensation': compensation, 'pairs': len(pairs)}
        for success in SUCCESSES:
            ours = [bool(with_it[success]) for with_it, _ in pairs]
            theirs = [bool(without[success]) for _, without in pairs]
            row[success] = sum(ours) - sum(theirs)
            row[f'{success}_p'] = round(mcnemar(ours, theirs), 6)
        for measure in MEASURES:
            gaps = [
                with_it[measure] - without[measure]
                for with_it, without in pairs
                if None not in (with_it[measure], without[measure])
                and (measure != 'steps' or (with_it['reached'] and without['reached']))
            ]
            many = len(gaps) > 1
            row[measure] = _mean(gaps, 4) if many else None
            row[f'{measure}_error'] = (
                round(float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5, 4) if many else None
            )
        rows.append(row)
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    lines = [
        '| planning takes, periods | compensation | reached | precisely | steps over optimum '
        '| change, (m/s)^2 | overshoot, cm | delay assumed, s |',
        '|---|---|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["periods"]:g} | {row["compensation"]} | {row["reached"]}/{row["episodes"]} '
        f'| {row["precise"]}/{row["episodes"]} | {_shown(row["steps_over_optimum"], 1)} '
        f'| {row["change"]:.3f} | {_shown(row["overshoot_cm"], 1)} | {row["delay_s"]:.2f} |'
        for row in rows
    ]
    return '\n'.join(lines)


def paired_markdown(differences: Sequence[Row]) -> str:
    """The differences as a table for people."""
    lines = [
        '| planning takes, periods | compensation | reached | precisely | steps '
        '| change, (m/s)^2 | overshoot, cm |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in differences:
        shown = [f'{row[success]:+d} ({row[f"{success}_p"]:.2g})' for success in SUCCESSES]
        shown += [
            '-' if row[measure] is None else f'{row[measure]:+.3f} ± {row[f"{measure}_error"]:.3f}'
            for measure in MEASURES
        ]
        lines.append(f'| {row["periods"]:g} | {row["compensation"]} | {" | ".join(shown)} |')
    return '\n'.join(lines)


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Success, steps over optimum, smoothness and overshoot as bars (PNG)."""
    figure = Figure(figsize=(15, 3.6), layout='constrained')
    panels = (
        ('success, %', lambda row: 100 * row['reached'] / row['episodes']),
        ('precise success, %', lambda row: 100 * row['precise'] / row['episodes']),
        ('steps over optimum', lambda row: row['steps_over_optimum']),
        ('change of the command, (m/s)²', lambda row: row['change']),
        ('overshoot, cm', lambda row: row['overshoot_cm']),
    )
    for axes, (label, value) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for number, compensation in enumerate(COMPENSATIONS):
            own = [row for row in rows if row['compensation'] == compensation]
            places = [PERIODS.index(row['periods']) + 0.2 * (number - 1.5) for row in own]
            axes.bar(places, [value(row) or 0 for row in own], 0.19, label=compensation)
        axes.set_xticks(range(len(PERIODS)), [f'{periods:g}' for periods in PERIODS])
        axes.set(xlabel='planning takes, control periods', ylabel=label)
    figure.axes[2].legend(title='compensation', loc='upper left')
    figure.savefig(path, dpi=110)


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write latency.json, latency.md and latency.png of the content of the first."""
    rows = content['rows']
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'latency.json').write_text(_compact(content))
    parts = (markdown(rows), 'Differences to none:', paired_markdown(content['paired']))
    (folder / 'latency.md').write_text('\n\n'.join((*parts, content['notes'])) + '\n')
    plot(folder / 'latency.png', rows)


def _cell(entry: Episode) -> tuple[float, str]:
    return entry['periods'], entry['compensation']


def _cells(episodes: Sequence[Episode]) -> list[tuple[float, str]]:
    """All cells that there are episodes of, in the order of the tables."""
    there = set(map(_cell, episodes))
    return [cell for cell in product(PERIODS, COMPENSATIONS) if cell in there]


def _mean(values: Sequence[float], digits: int) -> float | None:
    return round(float(np.mean(values)), digits) if values else None


def _shown(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _compact(content: dict[str, Any]) -> str:
    """JSON with one line for each row and episode."""
    parts = []
    for name, value in content.items():
        text = json.dumps(value)
        if name in ('rows', 'paired', 'episodes'):
            text = '[\n  ' + ',\n  '.join(map(json.dumps, value)) + '\n ]'
        parts.append(f' {json.dumps(name)}: {text}')
    return '{\n' + ',\n'.join(parts) + '\n}\n'
