"""Success of a planner over episodes, in receding horizon and with whole plans executed."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from grasp_ros.benchmark.counting_model import CountingModel
from grasp_ros.benchmark.episodes import LockStepRun, run_episode
from grasp_ros.benchmark.judge import Rules
from grasp_ros.benchmark.statistics import success_interval
from grasp_ros.benchmark.variants import VARIANTS
from grasp_ros.control import build_controller, model_limits
from grasp_ros.core.config import ControllerConfig
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.planners.registry import build
from grasp_ros.sim.episodes import make_episode
from grasp_ros.sim.two_rooms import TwoRooms

GOAL_TOLERANCE = 1.0


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a planner at a horizon on a list of episodes.

    Attributes:
        task: name of the task and of its model.
        variant: name in VARIANTS.
        horizon: T, model steps.
        seeds: of the episodes.
        replan_every: control periods between replans; the horizon for open loop.
    """

    task: str
    variant: str
    horizon: int
    seeds: tuple[int, ...]
    replan_every: int = 1

    @property
    def closed_loop(self) -> bool:
        """Whether plans are replaced before they are executed to their end."""
        return self.replan_every < self.horizon


@dataclass(frozen=True)
class EpisodeRow:
    """One episode of a cell.

    Attributes:
        seed: of the episode.
        reached: and stayed, by the true position.
        through_door: whether start and goal lie in different rooms.
        steps: until it arrived to stay, or all.
        final_distance_px: true distance at the end.
        planning_s: all solves of the episode, wall-clock.
        solves: number of them.
        predictor_calls: of them all.
        peak_memory_mb: of the process so far.
    """

    seed: int
    reached: bool
    through_door: bool
    steps: int
    final_distance_px: float
    planning_s: float
    solves: int
    predictor_calls: int
    peak_memory_mb: float


def run_cell(cell: Cell) -> list[EpisodeRow]:
    """Run all episodes of a cell in this process, on one thread."""
    torch.set_num_threads(1)
    loaded, manifest = load_model(find_model(cell.task))
    model = CountingModel(loaded)
    variant = VARIANTS[cell.variant]
    planner = build(variant.planner, model, variant.options)
    config = ControllerConfig(
        horizon=cell.horizon,
        planning_delay=manifest.model_dt,
        max_plan_age=(cell.replan_every + 2) * manifest.model_dt,
        image_timeout=2 * manifest.model_dt,
    )
    controller = build_controller(
        model, manifest, planner, model_limits(manifest), config, GOAL_TOLERANCE
    )
    controller.prepare()
    world = TwoRooms()
    rows = []
    for seed in cell.seeds:
        model.predictor_calls = 0
        episode = make_episode(world, seed)
        run = run_episode(
            controller, world, episode, Rules.for_horizon(50), cell.replan_every
        )
        rows.append(_row(run, model.predictor_calls))
    return rows


def run_cells(cells: Sequence[Cell], workers: int) -> Iterable[tuple[Cell, list[EpisodeRow]]]:
    """Run cells side by side in `workers` processes; successes do not depend on their number.

    Times do: cells whose times are to be quoted are run with one worker, alone on the machine.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        futures = [(cell, pool.submit(run_cell, cell)) for cell in cells]
        try:
            for cell, future in futures:
                yield cell, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def summary(cell: Cell, rows: Sequence[EpisodeRow]) -> dict[str, object]:
    """A cell of the result file."""
    successes = [row for row in rows if row.reached]
    through = [row for row in rows if row.through_door]
    solves = sum(row.solves for row in rows)
    low, high = success_interval(len(successes), len(rows))
    return {
        'task': cell.task,
        'planner': cell.variant,
        'horizon': cell.horizon,
        'episodes': len(rows),
        'success': round(len(successes) / len(rows), 4),
        'success_ci': [round(low, 4), round(high, 4)],
        'success_through_door': [sum(row.reached for row in through), len(through)],
        'median_steps': _median([row.steps for row in successes]),
        'median_time_s': _median([row.planning_s for row in successes]),
        'replan_ms': round(1e3 * sum(row.planning_s for row in rows) / max(1, solves), 3),
        'predictor_calls': round(sum(row.predictor_calls for row in rows) / max(1, solves), 1),
        'peak_memory_mb': max(row.peak_memory_mb for row in rows),
        'closed_loop': cell.closed_loop,
    }


def _row(run: LockStepRun, predictor_calls: int) -> EpisodeRow:
    result = run.result
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return EpisodeRow(
        seed=result.seed,
        reached=result.reached,
        through_door=result.through_door,
        steps=result.steps,
        final_distance_px=round(result.final_distance_px, 3),
        planning_s=round(sum(run.solve_times_s), 5),
        solves=len(run.solve_times_s),
        predictor_calls=predictor_calls,
        peak_memory_mb=round(peak_kb / 1024, 1),
    )


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 5) if values else None
