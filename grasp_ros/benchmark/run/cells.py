"""One cell of the tables: a planner at a horizon on the episodes of one model seed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from grasp_ros.benchmark.episodes.compute_budget import CountingPlanner
from grasp_ros.benchmark.episodes.side_by_side import BatchedEpisodes, SideBySideRun
from grasp_ros.benchmark.run.variants import build
from grasp_ros.control.config import ControllerConfig
from grasp_ros.models.checkpoint import load_model
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms.episodes import RoomsEpisode

GOAL_TOLERANCE = 1.0


@dataclass(frozen=True)
class Cell:
    """What is run.

    Attributes:
        task: name in ROOMS.
        name: of the planner in the tables.
        planner: name in the registry.
        horizon: T, model steps.
        model: folder of the model.
        seeds: of the episodes.
        options: of the planner, where they are not its defaults.
        replan_every: control periods between replans; None executes whole first plans.
        horizon_mode: as in ControllerConfig.
    """

    task: str
    name: str
    planner: str
    horizon: int
    model: str
    seeds: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    replan_every: int | None = 5
    horizon_mode: Literal['fixed', 'shrinking'] = 'shrinking'

    @property
    def closed_loop(self) -> bool:
        """Whether plans are replaced before they are executed to their end."""
        return self.replan_every is not None

    @property
    def title(self) -> str:
        """For progress bars."""
        loop = '' if self.closed_loop else ', open loop'
        return f'{self.task}, {self.name}, T = {self.horizon}{loop}'


@dataclass(frozen=True)
class EpisodeRow:
    """One episode.

    Attributes:
        seed: of the episode.
        reached: and stayed within the budget; for whole plans: ended at the goal.
        imagined: whether the last plan's rollout ended at the goal.
        steps: until it arrived to stay, or all.
        optimal_steps: of the time-optimal path.
        budget: steps allowed.
        final_distance_px: true distance at the end.
        solves: made for it.
        iterations: in all of them.
    """

    seed: int
    reached: bool
    imagined: bool
    steps: int
    optimal_steps: float
    budget: int
    final_distance_px: float
    solves: int
    iterations: int


@dataclass(frozen=True)
class CellResult:
    """What a cell gave.

    Attributes:
        episodes: in the order of their seeds.
        predictor_calls: of one solve, on average.
        wall_s: of all of it, side by side.
    """

    episodes: tuple[EpisodeRow, ...]
    predictor_calls: float
    wall_s: float


def decode_result(
    content: Mapping[str, Any], row: type[EpisodeRow] = EpisodeRow
) -> CellResult:
    """A CellResult from its fields in JSON; `row` is what its episodes are."""
    episodes = tuple(row(**fields) for fields in content['episodes'])
    return CellResult(episodes, content['predictor_calls'], content['wall_s'])


def policy(cell: Cell) -> ControllerConfig:
    """The controller's policy in a cell."""
    return ControllerConfig(horizon=cell.horizon, horizon_mode=cell.horizon_mode)


def run_cell(cell: Cell) -> CellResult:
    """Measure success in a cell on one thread, with all its episodes side by side."""
    torch.set_num_threads(1)
    model, manifest = load_model(Path(cell.model))
    planner = CountingPlanner(build(cell.planner, model, cell.options), model)
    tasks = [episode_of(cell.task, seed) for seed in cell.seeds]
    began = time.perf_counter()
    runs = BatchedEpisodes(model, manifest, planner, policy(cell), GOAL_TOLERANCE).run(
        tasks, cell.replan_every
    )
    wall_s = time.perf_counter() - began
    return CellResult(
        tuple(_row(run, task) for run, task in zip(runs, tasks, strict=True)),
        round(planner.calls_per_solve, 1),
        round(wall_s, 2),
    )


@lru_cache(maxsize=4096)
def episode_of(task: str, seed: int) -> RoomsEpisode:
    """The episode of a seed; drawing one takes longer than looking it up."""
    return ROOMS[task].episode(seed)


def _row(run: SideBySideRun, task: RoomsEpisode) -> EpisodeRow:
    result = run.result
    return EpisodeRow(
        seed=result.seed,
        reached=result.reached,
        imagined=run.imagined,
        steps=result.steps,
        optimal_steps=round(task.optimal_steps, 2),
        budget=task.budget,
        final_distance_px=round(result.final_distance_px, 3),
        solves=run.solves,
        iterations=run.iterations,
    )
