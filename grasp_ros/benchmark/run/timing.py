"""Times of solves: alone on the machine, one problem at a time, on one pinned thread."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from grasp_ros.benchmark.run.cells import GOAL_TOLERANCE, Cell, episode_of, policy
from grasp_ros.benchmark.run.variants import build
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.models.checkpoint import load_model
from grasp_ros.planning.process_tuning import keep_freed_memory
from grasp_ros.sim.closed_loop import drive, lock_step
from grasp_ros.sim.rooms.episodes import RoomsSimulation
from grasp_ros.sim.success import Rules

MAX_SOLVING_S = 30.0


@dataclass(frozen=True)
class Timing:
    """Times of the solves of a planner at a horizon.

    Attributes:
        first_s: of the first solve of each episode.
        replans_s: of all others, warm-started.
        peak_memory_mb: of the process while it ran the episodes.
        cut: whether the last episode was not driven to its end, for want of time.
    """

    first_s: tuple[float, ...]
    replans_s: tuple[float, ...]
    peak_memory_mb: float
    cut: bool


class Solved(Protocol):
    """An episode that was driven.

    Attributes:
        solve_times_s: of all its solves.
        cut: whether it was given up undecided, for want of time.
    """

    @property
    def solve_times_s(self) -> tuple[float, ...]: ...  # noqa: D102 - see the class
    @property
    def cut(self) -> bool: ...  # noqa: D102


def decode_timing(content: Mapping[str, Any]) -> Timing:
    """A Timing from its fields in JSON."""
    return Timing(
        tuple(content['first_s']),
        tuple(content['replans_s']),
        content['peak_memory_mb'],
        content['cut'],
    )


def time_cell(cell: Cell) -> Timing:
    """Drive the cell's episodes one after the other with the real controller.

    The process is pinned to one of its cores where the system allows it.
    """
    pin()
    torch.set_num_threads(1)
    keep_freed_memory()
    model, manifest = load_model(Path(cell.model))
    planner = build(cell.planner, model, cell.options)
    # Whole plans are measured by their first solve, which is the same.
    every = cell.replan_every or 1000 * cell.horizon
    config = lock_step(policy(cell), manifest.model_dt, every)
    controller = build_controller(
        model, manifest, planner, model_limits(manifest), config, GOAL_TOLERANCE
    )
    controller.prepare()

    def driven(seed: int) -> Callable[[float], Solved]:
        task = episode_of(cell.task, seed)
        episode = RoomsSimulation(task.world, task.episode, Rules(budget=task.budget))
        period_s = task.world.control_period
        return lambda left: drive(controller, episode, period_s, every, left)

    return timed(driven(seed) for seed in cell.seeds)


def timed(episodes: Iterable[Callable[[float], Solved]]) -> Timing:
    """Run episodes one after the other; each is told how many seconds of solves are left."""
    reset_peak()
    first: list[float] = []
    replans: list[float] = []
    cut = False
    for episode in episodes:
        run = episode(MAX_SOLVING_S - sum(first) - sum(replans))
        first += run.solve_times_s[:1]
        replans += run.solve_times_s[1:]
        cut = run.cut
        if cut:
            break
    return Timing(tuple(first), tuple(replans), peak_mb(), cut)


def pin() -> None:
    """Keep this process on one of the cores that it may use, where the system can."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


STATUS = Path('/proc/self/status')
CLEAR = Path('/proc/self/clear_refs')
RESET_PEAK = '5'
"""Clears the peak of resident memory, by proc(5)."""


def reset_peak() -> None:
    """Measure from now on, where the system can (Linux); elsewhere from the process's start."""
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return


def peak_mb() -> float:
    """Most resident memory since `reset_peak`, in MB (2^20 bytes)."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in kB elsewhere.
    return round(peak / (2**20 if sys.platform == 'darwin' else 1024), 1)
