"""One cell of the Push-T tables: a planner at a horizon on recorded starts and goals."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.benchmark.push_t.oracle import ACTION_SPACE, OracleModel, latents_of, states_of
from grasp_ros.benchmark.push_t.probe import EPISODES, PoseProbe, ProbeError, probe_of
from grasp_ros.benchmark.run.cells import (
    Cell,
    CellResult,
    CountingPlanner,
    EpisodeRow,
    ImageEncoder,
)
from grasp_ros.benchmark.run.timing import Solved, Timing, pin, timed
from grasp_ros.benchmark.run.trials import Driven, Setup, TrialRunner
from grasp_ros.benchmark.run.variants import build
from grasp_ros.benchmark.run.workers import weights_digest
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import model_limits, policy_for
from grasp_ros.control.limits import Limits
from grasp_ros.models.action_space import ActionSpace
from grasp_ros.models.checkpoint import CheckpointError, load_model
from grasp_ros.models.protocol import WorldModel, rollout
from grasp_ros.planning.problem import to_numpy, to_tensor
from grasp_ros.planning.process_tuning import keep_freed_memory
from grasp_ros.planning.protocol import Planner
from grasp_ros.sim.push_t.episodes import PushTEpisode, PushTSimulation, make_episode
from grasp_ros.sim.push_t.policy import collect
from grasp_ros.sim.push_t.robot import render
from grasp_ros.sim.push_t.world import CONTROL_PERIOD, FRAME_SKIP, errors, succeeded

ORACLE = 'oracle'
"""In place of a model's folder: the simulator itself."""
BATCH = 256
"""Images encoded at once for a probe."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PushTRow(EpisodeRow):
    """One episode; distances are the position error of agent and block together.

    Attributes:
        final_angle_rad: angle error of the block at the end.
        moves_block: whether the block must move.
    """

    final_angle_rad: float
    moves_block: bool


@dataclass(frozen=True, eq=False)
class ModelUnderTest:
    """A world model as the benchmark of Push-T sees it.

    Attributes:
        model: predicts.
        space: of its actions.
        limits: of commands.
        look: states (10,) to what the model is shown of them.
        encode: observations to latents (B, *Z).
        pose: latents (B, *Z) to poses (B, 5), as a simulator state begins.
        settle: a policy with what the model's manifest says, for a planner.
    """

    model: WorldModel
    space: ActionSpace
    limits: Limits
    look: Callable[[Array], Any]
    encode: Callable[[Sequence[Any]], Tensor]
    pose: Callable[[Tensor], Array]
    settle: Callable[[ControllerConfig, Planner], ControllerConfig]


def subject_of(model: str, cache: Path) -> ModelUnderTest:
    """The oracle, or the model in a folder with the probe that `cache` keeps."""
    if model == ORACLE:
        oracle = OracleModel()
        limits = Limits(ACTION_SPACE.low, ACTION_SPACE.high, np.full(ACTION_SPACE.size, np.inf))
        return ModelUnderTest(
            oracle,
            ACTION_SPACE,
            limits,
            look=lambda state: state,
            encode=lambda states: latents_of(np.stack(states)),
            pose=states_of,
            settle=lambda config, _: config,
        )
    learned, manifest = load_model(Path(model))
    if manifest.frame_skip != FRAME_SKIP:
        raise CheckpointError(
            f'{model}: frame_skip is {manifest.frame_skip}; on Push-T a model step has '
            f'{FRAME_SKIP} commands'
        )
    encode = ImageEncoder(learned, manifest)
    probe, _ = probe_for(model, cache, encode)
    return ModelUnderTest(
        learned,
        manifest.action_space,
        model_limits(manifest),
        look=render,
        encode=encode,
        pose=lambda latents: probe(to_numpy(latents.flatten(1))),
        settle=lambda config, planner: policy_for(manifest, planner.distance, config, 0.0),
    )


def probe_for(
    model: str,
    cache: Path,
    encode: Callable[[Sequence[Any]], Tensor] | None = None,
    episodes: int = EPISODES,
) -> tuple[PoseProbe, ProbeError]:
    """The probe of the model in a folder, and its error; fitted unless `cache` has it."""
    see = encode or ImageEncoder(*load_model(Path(model)))

    def flat(states: Array) -> Array:
        parts = np.array_split(states, max(1, len(states) // BATCH))
        return np.concatenate([to_numpy(see(list(render(part))).flatten(1)) for part in parts])

    def motion(episodes: int, length: int, seed: int) -> Array:
        return collect(episodes, length, seed).frames

    cache.mkdir(parents=True, exist_ok=True)
    return probe_of(flat, motion, cache / f'probe_{digest_of(model)[:24]}.npz', episodes)


@lru_cache
def digest_of(model: str) -> str:
    """Digest that tells models apart: the SHA-256 of weights, or of the oracle's name."""
    return hashlib.sha256(ORACLE.encode()).hexdigest() if model == ORACLE else (
        weights_digest(model)
    )


@lru_cache(maxsize=4096)
def episode_of(seed: int, horizon: int) -> PushTEpisode:
    """The episode of a seed whose goal is so many model steps ahead."""
    return make_episode(seed, horizon * FRAME_SKIP)


def run_cell(cell: Cell, cache: Path) -> CellResult:
    """Measure success in a cell on one thread, with all its episodes side by side."""
    torch.set_num_threads(1)
    return run_subject(cell, subject_of(cell.model, cache))


def run_subject(cell: Cell, subject: ModelUnderTest) -> CellResult:
    """Measure success in a cell with this model in place of the cell's."""
    planner = CountingPlanner(build(cell.planner, subject.model, cell.options), subject.model)
    began = time.perf_counter()
    driven = _runner(cell, subject, planner).run(_episodes(cell, subject), cell.replan_every)
    wall_s = time.perf_counter() - began
    return CellResult(
        tuple(_row(run, subject) for run in driven),
        round(planner.calls_per_solve, 1),
        round(wall_s, 2),
    )


def time_cell(cell: Cell, cache: Path) -> Timing:
    """Time the solves of the cell's episodes, one after the other, on one pinned thread."""
    pin()
    torch.set_num_threads(1)
    keep_freed_memory()
    subject = subject_of(cell.model, cache)
    runner = _runner(cell, subject, build(cell.planner, subject.model, cell.options))
    warm = [PushTSimulation(episode_of(cell.seeds[0], cell.horizon), subject.look, whole=True)]
    runner.run(warm, None)

    def driven(episode: PushTSimulation) -> Callable[[float], Solved]:
        return lambda left: runner.run([episode], cell.replan_every, left)[0]

    return timed(driven(episode) for episode in _episodes(cell, subject))


def _runner(cell: Cell, subject: ModelUnderTest, planner: Planner) -> TrialRunner:
    config = subject.settle(
        ControllerConfig(
            horizon=cell.horizon,
            horizon_mode=cell.horizon_mode,
            model_dt=FRAME_SKIP * CONTROL_PERIOD,
        ),
        planner,
    )
    return TrialRunner(
        Setup(
            subject.model,
            planner,
            config,
            subject.space,
            subject.limits,
            subject.encode,
            delay=0,
        )
    )


def _episodes(cell: Cell, subject: ModelUnderTest) -> list[PushTSimulation]:
    return [
        PushTSimulation(episode_of(seed, cell.horizon), subject.look, whole=not cell.closed_loop)
        for seed in cell.seeds
    ]


def _row(run: Driven[PushTSimulation], subject: ModelUnderTest) -> PushTRow:
    end, episode = run.episode, run.episode.episode
    position, angle = errors(end.state, episode.goal)
    imagined = False
    if run.plan is not None:
        pose = subject.pose(run.plan.rollout[:, -1])
        imagined = bool(succeeded(pose, episode.goal)[0])
    return PushTRow(
        seed=episode.seed,
        reached=end.reached,
        imagined=imagined,
        steps=end.steps,
        optimal_steps=float(len(episode.commands)),
        budget=episode.budget,
        final_distance_px=round(float(position), 3),
        solves=len(run.solve_times_s),
        iterations=run.iterations,
        final_angle_rad=round(float(angle), 4),
        moves_block=episode.moves_block,
    )


@torch.no_grad()
def imagined_share(subject: ModelUnderTest, seeds: Sequence[int], horizon: int) -> float:
    """Share of episodes whose recorded commands end within the criterion in imagination.

    Args:
        subject: the model.
        seeds: of the episodes.
        horizon: model steps to their goals.
    """
    model, space = subject.model, subject.space
    episodes = [episode_of(seed, horizon) for seed in seeds]
    latents = subject.encode([subject.look(episode.start) for episode in episodes])
    commands = np.stack([episode.commands for episode in episodes])
    shaped = commands.reshape(len(episodes), horizon, space.frame_skip, space.size)
    # Before the start the robot stands, as when an episode begins.
    before = np.zeros((len(episodes), model.history - 1, *shaped.shape[2:]))
    ends = rollout(
        model,
        torch.stack([latents] * model.history, dim=1),
        to_tensor(space.normalise(before), latents),
        to_tensor(space.normalise(shaped), latents),
    )[:, -1]
    goals = np.stack([episode.goal for episode in episodes])
    return round(float(succeeded(subject.pose(ends), goals).mean()), 4)
