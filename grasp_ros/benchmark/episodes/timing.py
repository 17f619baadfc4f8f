"""How long solves take: alone on the machine, one problem at a time, on one pinned thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from grasp_ros.benchmark.episodes.episode import lock_step, run_episode
from grasp_ros.benchmark.run.cells import GOAL_TOLERANCE, Cell, episode_of, policy
from grasp_ros.benchmark.speed.peak_memory import peak_mb, reset_peak
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.models.checkpoint import load_model
from grasp_ros.planning.malloc_tuning import keep_freed_memory
from grasp_ros.planning.registry import build
from grasp_ros.sim.success import Rules

MOST_SOLVING_S = 30.0


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
        rules = Rules(budget=task.budget)
        return lambda left: run_episode(
            controller, task.world, task.episode, rules, every, left
        )

    return timed(driven(seed) for seed in cell.seeds)


def timed(episodes: Iterable[Callable[[float], Solved]]) -> Timing:
    """Run episodes one after the other; each is told how many seconds of solves are left."""
    reset_peak()
    first: list[float] = []
    replans: list[float] = []
    cut = False
    for episode in episodes:
        run = episode(MOST_SOLVING_S - sum(first) - sum(replans))
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
