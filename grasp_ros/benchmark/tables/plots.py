"""Plots of benchmark results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grasp_ros.benchmark.run.variants import SHIPPED, WITH_GUESSES, base_name

Row = Mapping[str, Any]
DODGE = 4.0
"""Steps over which the points of one horizon are spread."""


def plot_success(
    path: Path, rows: Sequence[Row], horizon_label: str = 'horizon T, model steps'
) -> None:
    """Success and planning time against the horizon, one line for each planner (PNG)."""
    figure = Figure(figsize=(12, 5), layout='constrained')
    success, times = figure.subplots(1, 2)
    styles = _styles([row['planner'] for row in rows])
    for number, (planner, style) in enumerate(styles.items()):
        own = sorted(
            (row for row in rows if row['planner'] == planner), key=lambda row: row['horizon']
        )
        horizons = [row['horizon'] for row in own]
        rates = [100 * row['success'] for row in own]
        below = [rate - 100 * row['success_ci'][0] for rate, row in zip(rates, own, strict=True)]
        above = [100 * row['success_ci'][1] - rate for rate, row in zip(rates, own, strict=True)]
        # Side by side, since many planners may succeed equally often.
        beside = DODGE * (number - (len(styles) - 1) / 2) / len(styles)
        success.errorbar(
            [horizon + beside for horizon in horizons],
            rates,
            [below, above],
            marker='o',
            markersize=4,
            capsize=2,
            elinewidth=0.6,
            **style,
        )
        timed = [row for row in own if row['median_time_s'] is not None]
        times.plot(
            [row['horizon'] for row in timed],
            [row['median_time_s'] for row in timed],
            marker='o',
            label=planner,
            **style,
        )
    success.set_xticks(sorted({row['horizon'] for row in rows}))
    success.set(xlabel=horizon_label, ylabel='success, %', ylim=(-3, 103))
    times.set(
        xlabel=horizon_label,
        ylabel='median planning time of the successes, s',
        yscale='log' if any(row['median_time_s'] for row in rows) else 'linear',
    )
    times.legend(fontsize='small', loc='center left', bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(rows[0]['task'])
    figure.savefig(path, dpi=120)


def plot_censored(path: Path, curves: Sequence[Row], horizon_name: str = 'T') -> None:
    """Share of episodes reached within a planning time, one plot for each horizon (PNG)."""
    horizons = sorted({curve['horizon'] for curve in curves})
    figure = Figure(figsize=(5 * len(horizons) + 2, 5), layout='constrained')
    styles = _styles([curve['planner'] for curve in curves])
    last = max((curve['reached_after_s'][-1] for curve in curves if curve['reached_after_s']),
               default=1.0)
    every_axes = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, horizon in zip(every_axes, horizons, strict=True):
        for curve in (curve for curve in curves if curve['horizon'] == horizon):
            reached = curve['reached_after_s']
            times = [*reached[:1], *reached, last]
            share = 100 * np.array([*range(len(reached) + 1), len(reached)]) / curve['episodes']
            share = share[-len(times) :]
            planner = curve['planner']
            axes.step(times, share, where='post', label=planner, **styles[planner])
        _label_times(axes, f'{horizon_name} = {horizon}')
    every_axes[0].set_ylabel('episodes reached, % (failures never are)')
    every_axes[-1].legend(fontsize='small', loc='center left', bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(curves[0]['task'])
    figure.savefig(path, dpi=120)


def plot_efforts(path: Path, rows: Sequence[Row], horizon_name: str = 'T') -> None:
    """Success against planning time, a line for each planner through its efforts (PNG).

    One plot for each horizon. Planning time is that of the first solve in open loop, else that
    of the successes.
    """
    horizons = sorted({row['horizon'] for row in rows})
    figure = Figure(figsize=(4 * len(horizons) + 2, 4.5), layout='constrained')
    styles = _styles([base_name(row['planner']) for row in rows])
    every_axes = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, horizon in zip(every_axes, horizons, strict=True):
        for planner, style in styles.items():
            points = sorted(
                (time_s, 100 * row['success'])
                for row in rows
                if row['horizon'] == horizon and base_name(row['planner']) == planner
                if (time_s := _planning_s(row)) is not None
            )
            axes.plot(
                [time_s for time_s, _ in points],
                [success for _, success in points],
                marker='o',
                markersize=4,
                label=planner,
                **style,
            )
        _label_times(axes, f'{horizon_name} = {horizon}')
    every_axes[0].set_ylabel('success, %')
    every_axes[-1].legend(fontsize='small', loc='center left', bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(rows[0]['task'])
    figure.savefig(path, dpi=120)


def _label_times(axes: Axes, title: str) -> None:
    """Success in % over planning time."""
    axes.set(xscale='log', title=title, xlabel='planning time, s', ylim=(-3, 103))


def _planning_s(row: Row) -> float | None:
    """Planning time of a row as `plot_efforts` wants it; None without measured times."""
    if row['closed_loop']:
        return row['median_time_s']
    return None if row['first_solve_ms'] is None else row['first_solve_ms'] / 1e3


def plot_speed(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Iteration time against the horizon, batched and as a loop, as the first row's (PNG)."""
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    first = rows[0]
    same = ('model', 'device', 'goal_distance', 'execution', 'precision')
    rows = [
        row
        for row in rows
        if 'iteration_ms' in row and all(row[name] == first[name] for name in same)
    ]
    for candidates in dict.fromkeys(row['candidates'] for row in rows):
        own = sorted(
            (row for row in rows if row['candidates'] == candidates),
            key=lambda row: row['horizon'],
        )
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


def _styles(planners: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Line style of each planner: GRASP as shipped black, what has its initial guesses dashed."""
    colours = matplotlib.color_sequences['tab20']
    bases = list(
        dict.fromkeys(name.removesuffix(WITH_GUESSES) for name in planners if name != SHIPPED)
    )
    styles: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(planners):
        if name == SHIPPED:
            styles[name] = {'color': 'black', 'linewidth': 2.5, 'zorder': 3}
            continue
        styles[name] = {
            'color': colours[bases.index(name.removesuffix(WITH_GUESSES)) % len(colours)],
            'linestyle': '--' if name.endswith(WITH_GUESSES) else '-',
            'linewidth': 1.2,
        }
    return styles
