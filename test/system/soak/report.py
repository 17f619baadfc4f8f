"""Whether a long run held: memory, deadlines, jitter and limits; verdict and plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from grasp_ros.machine import machine, versions

MEMORY_GROWTH = 0.01
SHORT_MEMORY_GROWTH = 0.05
"""In a minute the allocator has not settled yet."""
MISSED_SHARE = 0.001
JITTER_P99_S = 0.010
EDGE = 0.1
"""Share of the samples after warm-up that memory is compared over, at either end."""


@dataclass
class Samples:
    """What was seen of a run; every time in seconds since its start.

    Attributes:
        memory: (time, resident bytes of the planner).
        ticks: (time, jitter in seconds, ticks missed so far) of each control tick, by the planner.
        arrivals: (time, deviation in seconds of the interval since the one before from a period)
            of each command at its receiver.
        bad_commands: what was wrong with commands that were not finite or outside the limits.
        image_to_command: (time, age in seconds of the image behind the plan) of each command of
            a plan, by the planner.
        solve_times_s: of the replans.
        prediction_errors: imagined against real, model steps of motion; NaN where unknown.
        episodes: goals given.
        reached: goals reached.
        phases_ms: durations of the phases in the planner, where it was flooded.
        device: that the planner reports.
        execution: of its solves, likewise.
        crash: why the run ended too early; empty if it did not.
    """

    memory: list[tuple[float, int]] = field(default_factory=list)
    ticks: list[tuple[float, float, int]] = field(default_factory=list)
    arrivals: list[tuple[float, float]] = field(default_factory=list)
    bad_commands: list[str] = field(default_factory=list)
    image_to_command: list[tuple[float, float]] = field(default_factory=list)
    solve_times_s: list[float] = field(default_factory=list)
    prediction_errors: list[float] = field(default_factory=list)
    episodes: int = 0
    reached: int = 0
    phases_ms: dict[str, list[float]] = field(default_factory=dict)
    device: str = ''
    execution: str = ''
    crash: str = ''


@dataclass(frozen=True)
class Conditions:
    """How a run was made.

    Attributes:
        duration_s: asked for.
        warm_up_s: at the beginning, excluded from everything but commands and crashes.
        control_rate: Hz.
        short: judge crashes, commands and memory only.
        cores: how many the run could use.
        flood_hz: large pictures a second that the planner got; 0 for the robot's own.
    """

    duration_s: float
    warm_up_s: float
    control_rate: float
    short: bool
    cores: int
    flood_hz: float = 0.0


@dataclass(frozen=True)
class Check:
    """One condition of a run.

    Attributes:
        name: for people.
        value: measured; NaN where nothing was measured, which does not hold.
        limit: that `value` must stay below, or equal where it is 0.
        unit: of both.
    """

    name: str
    value: float
    limit: float
    unit: str

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.value < self.limit or (self.limit == 0 and self.value == 0)


def memory_growth(memory: Sequence[tuple[float, int]], warm_up_s: float) -> float:
    """Share by which the resident memory grew: the last tenth after warm-up against the first.

    Returns:
        Relative growth of the medians; NaN with fewer than two samples after warm-up.
    """
    after = [size for time_s, size in memory if time_s >= warm_up_s]
    if len(after) < 2:
        return math.nan
    edge = max(1, round(EDGE * len(after)))
    return float(np.median(after[-edge:]) / np.median(after[:edge]) - 1.0)


def checks(samples: Samples, conditions: Conditions) -> list[Check]:
    """What must hold of a run."""
    warm_up = conditions.warm_up_s
    short = conditions.short or conditions.flood_hz
    growth = SHORT_MEMORY_GROWTH if short else MEMORY_GROWTH
    result = [
        Check('crashes', float(bool(samples.crash)), 0, ''),
        Check('commands outside limits or not finite', len(samples.bad_commands), 0, ''),
        Check('no command', float(not samples.arrivals), 0, ''),
        Check('memory growth', memory_growth(samples.memory, warm_up), growth, ''),
    ]
    if conditions.short:
        return result
    ticks = [tick for tick in samples.ticks if tick[0] >= warm_up]
    missed = (ticks[-1][2] - ticks[0][2]) / len(ticks) if ticks else math.nan
    result += [
        Check('missed deadlines', missed, MISSED_SHARE, ''),
        Check('jitter p99 in the planner', _p99(_jitter(ticks)), JITTER_P99_S, 's'),
    ]
    return result


def soak_report(samples: Samples, conditions: Conditions) -> dict[str, Any]:
    """The content of report.json; what is unknown is None."""
    made = checks(samples, conditions)
    warm_up = conditions.warm_up_s
    inside = _jitter([tick for tick in samples.ticks if tick[0] >= warm_up])
    received = np.array([off for time_s, off in samples.arrivals if time_s >= warm_up])
    behind = np.array([age for time_s, age in samples.image_to_command if time_s >= warm_up])
    last = samples.ticks[-1][0] if samples.ticks else 0.0
    return {
        'holds': all(check.ok for check in made),
        'checks': [
            {**asdict(check), 'value': _known(check.value), 'ok': check.ok} for check in made
        ],
        'seconds': round(last, 1),
        'ticks': len(samples.ticks),
        'replans': len(samples.solve_times_s),
        'goals': samples.episodes,
        'goals_reached': samples.reached,
        'solve_time_ms': _quantiles(1e3 * np.array(samples.solve_times_s[1:])),
        'image_to_command_ms': _quantiles(1e3 * behind),
        'jitter_ms': _quantiles(1e3 * inside),
        'receiver_jitter_ms': _quantiles(1e3 * received),
        'prediction_error': _quantiles(np.array(samples.prediction_errors)),
        'memory_mib': _memory(samples, warm_up),
        'images': _images(samples),
        'bad_commands': samples.bad_commands[:20],
        'device': samples.device,
        'execution': samples.execution,
        'crash': samples.crash,
        **asdict(conditions),
        'machine': machine(),
        'versions': versions(),
    }


def summary(report: dict[str, Any]) -> str:
    """A report for people, one line for each condition."""
    lines = [
        f'{report["seconds"]:.0f} s at {report["control_rate"]:g} Hz: {report["ticks"]} ticks, '
        f'{report["replans"]} replans, {report["goals_reached"]} of {report["goals"]} goals reached'
    ]
    for check in report['checks']:
        value = 'unknown' if check['value'] is None else f'{check["value"]:.5g}'
        lines.append(
            f'{"holds" if check["ok"] else "FAILS":<6} {check["name"]}: {value} {check["unit"]}'
            f' (limit {check["limit"]:g})'
        )
    for name, title in (
        ('jitter_ms', 'jitter in the planner'),
        ('receiver_jitter_ms', 'jitter at the receiver'),
        ('image_to_command_ms', 'image to command'),
        ('solve_time_ms', 'solve time'),
    ):
        found = report[name]
        if found is not None:
            lines.append(
                f'       {title}: median {found["p50"]:.2f}, p99 {found["p99"]:.2f}, '
                f'max {found["max"]:.2f} ms'
            )
    images = report['images']
    if images is not None:
        lines.append(
            f'       large pictures: {images["received"]} received, {images["decoded"]} decoded'
        )
    error = report['prediction_error']
    if error is not None:
        lines.append(
            f'       imagined against real: median {error["p50"]:.2f}, p99 {error["p99"]:.2f}, '
            f'max {error["max"]:.2f} model steps of motion'
        )
    if report['crash']:
        lines.append(report['crash'])
    return '\n'.join(lines)


def save_plot(path: Path, samples: Samples, conditions: Conditions) -> None:
    """Draw memory and jitter over time."""
    figure = Figure(figsize=(9, 6), layout='constrained')
    memory, jitter = figure.subplots(2, 1, sharex=True)
    if samples.memory:
        time_s, size = np.array(samples.memory, dtype=np.float64).T
        memory.plot(time_s, size / 2**20)
    memory.set_ylabel('planner, MiB resident')
    for label, pairs in (
        ('at the receiver', samples.arrivals),
        ('in the planner', [(time_s, late) for time_s, late, _ in samples.ticks]),
    ):
        if pairs:
            time_s, late = np.array(pairs).T
            jitter.plot(time_s, 1e3 * late, '.', markersize=2, label=label)
            jitter.legend(loc='upper right')
    jitter.axhline(1e3 * JITTER_P99_S, color='black', linewidth=0.8)
    jitter.set_ylabel('jitter, ms')
    jitter.set_xlabel('s')
    for axes in (memory, jitter):
        axes.axvspan(0, conditions.warm_up_s, color='0.92')
    figure.savefig(path, dpi=120)


def _jitter(ticks: Sequence[tuple[float, float, int]]) -> NDArray[np.float64]:
    return np.array([late for _, late, _ in ticks])


def _p99(seconds: NDArray[np.float64]) -> float:
    return float(np.percentile(seconds, 99)) if seconds.size else math.nan


def _quantiles(found: NDArray[np.float64]) -> dict[str, float] | None:
    known = found[~np.isnan(found)] if found.size else found
    if not known.size:
        return None
    values = np.percentile(known, (50, 99, 100))
    return dict(zip(('p50', 'p99', 'max'), values.round(3).tolist(), strict=True))


def _memory(samples: Samples, warm_up_s: float) -> dict[str, float] | None:
    after = [size / 2**20 for time_s, size in samples.memory if time_s >= warm_up_s]
    if not after:
        return None
    return {'first': round(after[0], 1), 'last': round(after[-1], 1), 'max': round(max(after), 1)}


def _images(samples: Samples) -> dict[str, Any] | None:
    """What became of the large pictures; None where there were none."""
    phases = samples.phases_ms
    if not phases:
        return None
    return {
        **{f'{phase}d': len(phases.get(phase, ())) for phase in ('receive', 'decode')},
        **{f'{phase}_ms': _quantiles(np.array(phases.get(phase, ())))
           for phase in ('receive', 'decode', 'preprocess')},
    }  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
