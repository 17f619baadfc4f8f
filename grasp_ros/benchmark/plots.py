"""Benchmark results as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_success(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Success and planning time against the horizon, one line for each planner (PNG)."""
    figure = Figure(figsize=(11, 4.5), layout='constrained')
    success, times = figure.subplots(1, 2)
    planners = dict.fromkeys(row['planner'] for row in rows)
    for planner in planners:
        own = sorted(
            (row for row in rows if row['planner'] == planner), key=lambda row: row['horizon']
        )
        horizons = [row['horizon'] for row in own]
        rates = [100 * row['success'] for row in own]
        below = [rate - 100 * row['success_ci'][0] for rate, row in zip(rates, own, strict=True)]
        above = [100 * row['success_ci'][1] - rate for rate, row in zip(rates, own, strict=True)]
        success.errorbar(horizons, rates, [below, above], marker='o', capsize=3, label=planner)
        timed = [row for row in own if row['median_time_s'] is not None]
        times.plot(
            [row['horizon'] for row in timed],
            [row['median_time_s'] for row in timed],
            marker='o',
            label=planner,
        )
    success.set(xlabel='horizon T, model steps', ylabel='success, %', ylim=(-3, 103))
    times.set(
        xlabel='horizon T, model steps',
        ylabel='median planning time of the successes, s',
        yscale='log',
    )
    times.legend(fontsize='small', loc='center left', bbox_to_anchor=(1.02, 0.5))
    figure.savefig(path, dpi=120)


def plot_speed(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Iteration time against the horizon, batched and as a loop (PNG)."""
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    kind = rows[0]['goal_distance']
    for candidates in dict.fromkeys(row['candidates'] for row in rows):
        own = [
            row for row in rows if row['candidates'] == candidates and row['goal_distance'] == kind
        ]
        horizons = [row['horizon'] for row in own]
        (line,) = axes.plot(
            horizons,
            [row['iteration_ms'] for row in own],
            marker='o',
            label=f'{candidates} candidates, batched over time',
        )
        axes.plot(
            horizons,
            [row['per_step_loop_ms'] for row in own],
            marker='o',
            linestyle='--',
            color=line.get_color(),
            label=f'{candidates} candidates, loop over time',
        )
    axes.set(xlabel='horizon T, model steps', ylabel='one iteration, ms', yscale='log')
    axes.legend(fontsize='small')
    figure.savefig(path, dpi=120)
