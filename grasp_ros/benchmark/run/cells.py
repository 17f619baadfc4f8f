"""One cell of the tables: a planner at a horizon on the episodes of one model seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.benchmark.run.trials import Driven, Setup, TrialRunner
from grasp_ros.benchmark.run.variants import build
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import model_limits, one_step_distance, policy_for, preprocessor
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import load_model
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import Observation, WorldModel
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Execution, Planner
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms.episodes import RoomsEpisode, RoomsSimulation
from grasp_ros.sim.success import EpisodeResult, Rules

GOAL_TOLERANCE = 1.0


@dataclass(frozen=True)
class Cell:
    """Planner, horizon, model and episodes of a cell.

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
        """Return whether plans are replaced before they are executed to their end."""
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
    """Episodes and costs of a cell.

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


@dataclass(frozen=True, eq=False)
class SideBySideRun:
    """One of the episodes that were driven side by side.

    Attributes:
        result: of the episode.
        positions: (S + 1, 2) in metres, where the robot was at each step.
        imagined: whether the last plan's rollout ended at the goal: its goal distance is at most
            that of the tolerance, by the manifest's calibration of one step of motion.
        solves: made for it.
        iterations: of the optimiser in all of them.
    """

    result: EpisodeResult
    positions: NDArray[np.float64]
    imagined: bool
    solves: int
    iterations: int


class BatchedEpisodes:
    """Drives episodes of one model and planner together."""

    def __init__(
        self,
        model: WorldModel,
        manifest: Manifest,
        planner: Planner,
        config: ControllerConfig,
        goal_tolerance: float,
        tolerance_px: float = Rules.tolerance_px,
    ) -> None:
        """Prepare; what the manifest says replaces what `config` says of it.

        Args:
            model: the world model.
            manifest: of the model.
            planner: built for the model.
            config: the policy; of its times, only those of the horizon matter here.
            goal_tolerance: as in `control.build_controller`.
            tolerance_px: within which a plan's end counts as at the goal.

        Raises:
            ValueError: if the actions of the model are not velocities of one command each.
        """
        space = manifest.action_space
        if space.kind is not ActionKind.VELOCITY:
            raise ValueError('episodes in rooms are driven by velocities')
        self._planner = planner
        self._config = policy_for(manifest, planner.distance, config, goal_tolerance)
        self._one_step = one_step_distance(manifest, planner.distance)
        self._tolerance_px = tolerance_px
        self._runner = TrialRunner(
            Setup(
                model,
                planner,
                self._config,
                space,
                model_limits(manifest),
                ImageEncoder(model, manifest),
                delay=1,
            )
        )

    def run(
        self, tasks: Sequence[RoomsEpisode], replan_every: int | None
    ) -> list[SideBySideRun]:
        """Drive all episodes to their ends.

        Args:
            tasks: the episodes.
            replan_every: control periods between replans; None executes whole first plans, scored
                by where the robot is at their end.
        """
        whole = replan_every is None
        # A plan's first action is due one step after its image.
        budget = self._config.horizon + 1
        episodes = [
            RoomsSimulation(
                task.world, task.episode, Rules(budget if whole else task.budget), whole
            )
            for task in tasks
        ]
        return [self._run(driven) for driven in self._runner.run(episodes, replan_every)]

    def _run(self, driven: Driven[RoomsSimulation]) -> SideBySideRun:
        imagined = False
        if driven.plan is not None:
            steps = self._tolerance_px / driven.episode.world.pixels_per_step
            # A squared error grows with the square of the way, a time with the way itself.
            power = 2 if self._planner.distance.kind == 'latent' else 1
            imagined = float(driven.plan.terminal_cost[0]) <= steps**power * self._one_step
        return SideBySideRun(
            driven.episode.monitor.result(),
            np.stack(driven.episode.positions),
            imagined,
            len(driven.solve_times_s),
            driven.iterations,
        )


class ImageEncoder:
    """Latents of camera images."""

    def __init__(self, model: WorldModel, manifest: Manifest) -> None:
        """Encode with `model` what the manifest's image pipeline makes of images."""
        self._model = model
        self._preprocess = preprocessor(manifest)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images (B) of (h, w, 3) uint8 RGB to latents (B, *Z)."""
        pixels = np.stack([self._preprocess(image) for image in images])
        inputs = torch.from_numpy(pixels)[:, None].to(self._model.device, self._model.dtype)
        return self._model.encode(Observation(inputs))[:, 0]


class PlannerWrapper:
    """Plans what another planner plans.

    Attributes:
        distance: of the planner.
    """

    def __init__(self, planner: Planner) -> None:
        """Pass everything on to `planner`."""
        self._planner = planner
        self.distance: GoalDistance = planner.distance

    @property
    def execution(self) -> Execution:
        """See Planner."""
        return self._planner.execution

    def prepare(self, problem: PlanProblem) -> None:
        """See Planner."""
        self._planner.prepare(problem)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """See Planner."""
        return self._planner.plan(problem, init, generator=generator, deadline_s=deadline_s)


class CountingPlanner(PlannerWrapper):
    """Passes everything on to a planner and counts its solves and the predictor's calls in them.

    Attributes:
        solves: made so far; of many problems at once they count as one.
        predictor_calls: in all of them.
    """

    def __init__(self, planner: Planner, model: WorldModel) -> None:
        """Count for `planner`; counters take the place of its model's `predict` and `linearise`.

        Predictions in captured graphs are not seen: count with a planner that captures nothing.
        """
        super().__init__(planner)
        self.solves = 0
        self.predictor_calls = 0
        self._calls = 0
        # On the instance, so that whatever else the model has stays visible to the planner.
        for name in ('predict', 'linearise'):
            if hasattr(model, name):
                setattr(model, name, self._counted(getattr(model, name)))

    def _counted(self, predict: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Any]:
        def counted(latents: Tensor, actions: Tensor) -> Any:
            self._calls += 1
            return predict(latents, actions)

        return counted

    @property
    def calls_per_solve(self) -> float:
        """Predictor calls of a solve, on average."""
        return self.predictor_calls / max(1, self.solves)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """See Planner."""
        before = self._calls
        plan = super().plan(problem, init, generator=generator, deadline_s=deadline_s)
        self.solves += 1
        self.predictor_calls += self._calls - before
        return plan


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
