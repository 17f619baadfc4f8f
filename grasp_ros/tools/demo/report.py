"""Report of a demo: percentiles, the machine, report.json and a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from grasp_ros.machine import machine, versions
from grasp_ros.sim.protocol import Result
from grasp_ros.sim.registry import TASKS
from grasp_ros.sim.success import count_successes

if TYPE_CHECKING:  # it imports ROS, which reports do without
    from grasp_ros.msg import PlanStatus


@dataclass
class Timing:
    """How long replans took and how punctual the commands were.

    Attributes:
        solve_times_s: of every replan since activation, the first one first.
        jitters_s: |publication - schedule| of every control tick.
        missed: control ticks more than half a period late.
    """

    solve_times_s: list[float] = field(default_factory=list)
    jitters_s: list[float] = field(default_factory=list)
    missed: int = 0
    _plans: int = 0

    def add(self, status: PlanStatus) -> None:
        """Take the status of a tick; its counter of plans tells a new solve."""
        if status.plans not in (0, self._plans):
            self.solve_times_s.append(status.solve_time)
        self._plans = status.plans
        self.jitters_s.append(status.jitter)
        self.missed = status.missed

    def replan_ms(self) -> dict[str, float | None]:
        """The `first` solve, median and 99th percentile of the others, in ms."""
        first = percentile_ms(self.solve_times_s[:1], 50)
        warm = self.solve_times_s[1:]
        return {'first': first, 'p50': percentile_ms(warm, 50), 'p99': percentile_ms(warm, 99)}

    def command_jitter_ms(self) -> dict[str, float | None]:
        """Median and 99th percentile in ms."""
        return {
            'p50': percentile_ms(self.jitters_s, 50),
            'p99': percentile_ms(self.jitters_s, 99),
        }


@dataclass(frozen=True)
class Setup:
    """Setup of a run.

    Attributes:
        planner: its name.
        horizon: T, in model steps.
        device: as 'cpu' or 'cuda:0'.
        torch_threads: CPU threads of PyTorch.
    """

    planner: str
    horizon: int
    device: str
    torch_threads: int


def percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """A percentile in ms, to a microsecond; None of nothing. NaN means unknown and is left out."""
    known = [value for value in seconds if not math.isnan(value)]
    return round(1e3 * float(np.percentile(known, percent)), 3) if known else None


def demo_report(
    results: Sequence[Result], timing: Timing, setup: Setup, task: str = 'two_room'
) -> dict[str, Any]:
    """The content of report.json; what is unknown is None."""
    counts = count_successes(results, tuple(TASKS[task].wording.groups))
    return {
        'task': task,
        'episodes': [{**result.row(), 'group': result.group} for result in results],
        'success': {name: asdict(count) for name, count in counts.items()},
        'replan_ms': timing.replan_ms(),
        'command_jitter_ms': timing.command_jitter_ms(),
        'missed': timing.missed,
        **asdict(setup),
        'machine': machine(),
        'versions': versions(),
    }


def summary_table(report: dict[str, Any]) -> str:
    """A report for people, one line for each episode."""
    words = TASKS[report['task']].wording
    lines = [f'{"seed":>8}  {words.heading:<10}  {"reached":<7}  {"steps":>5}  {"distance":>8}']
    for episode in report['episodes']:
        lines.append(
            f'{episode["seed"]:>8}  {words.groups[episode["group"]]:<10}  '
            f'{"yes" if episode["reached"] else "NO":<7}  '
            f'{episode["steps"]:>5}  {words.error(episode):>8}'
        )
    counts = report['success']
    replan, jitter = report['replan_ms'], report['command_jitter_ms']
    groups = ', '.join(f'{text} {_share(counts[name])}' for name, text in words.groups.items())
    lines += [
        '',
        f'reached          {_share(counts["all"])} ({groups})',
        f'replan           first {_ms(replan["first"])}, median {_ms(replan["p50"])}, '
        f'p99 {_ms(replan["p99"])}',
        f'command jitter   median {_ms(jitter["p50"])}, p99 {_ms(jitter["p99"])}, '
        f'missed ticks {report["missed"]}',
        f'planner          {report["planner"]}, horizon {report["horizon"]}, {report["device"]}, '
        f'torch threads {report["torch_threads"]}',
    ]
    return '\n'.join(lines)


def _share(count: dict[str, int]) -> str:
    return f'{count["reached"]} of {count["episodes"]}'


def _ms(value: float | None) -> str:
    return 'unknown' if value is None else f'{value:.1f} ms'
