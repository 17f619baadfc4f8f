"""Closed-loop episodes in lock step with the simulator: planning takes no simulated time.

Each control period the camera's picture is observed, the command due now is taken, and the next
plan is made; a plan acts one period after its picture, as it does on the node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.sim.rooms.episodes import Episode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld
from grasp_ros.sim.success import EpisodeJudge, EpisodeResult, Rules

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class LockStepRun:
    """What became of an episode.

    Attributes:
        result: the verdict.
        solve_times_s: of all solves, wall-clock.
        positions: (S + 1, 2) in metres, where the robot was at each step.
        cut: whether it was given up undecided, for want of time.
    """

    result: EpisodeResult
    solve_times_s: tuple[float, ...]
    positions: NDArray[np.float64]
    cut: bool = False


def lock_step(config: ControllerConfig, period_s: float, replan_every: int) -> ControllerConfig:
    """The policy `config` with the times of lock step: plans act after one control period."""
    return replace(
        config,
        planning_delay=period_s,
        max_plan_age=(replan_every + 2) * period_s,
        image_timeout=2 * period_s,
    )


def run_episode(
    controller: Controller,
    world: WalledWorld,
    episode: Episode,
    rules: Rules,
    replan_every: int = 1,
    most_solving_s: float = math.inf,
) -> LockStepRun:
    """Drive one episode.

    Args:
        controller: of the planner to judge; it is reset.
        world: the task.
        episode: start and goal.
        rules: what counts as success.
        replan_every: control periods between replans; a plan must live so long.
        most_solving_s: wall-clock seconds of solves after which the episode is given up.
    """
    controller.reset()
    controller.set_goal(world.render(episode.goal[None])[0])
    judge = EpisodeJudge(
        episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
    )
    position = episode.start[None]
    times: list[float] = []
    positions = [position[0]]
    cut = False
    while not cut and not judge.update(position[0] / METRES_PER_PIXEL):
        now_ns = round(judge.step * world.control_period * NANOSECONDS)
        controller.observe(world.render(position)[0], now_ns)
        command = controller.command(now_ns)
        action = np.zeros(2) if command.action is None else command.action
        position = world.advance(position, action[None], world.control_period)
        positions.append(position[0])
        if judge.step % replan_every == 0:
            plan = controller.plan(now_ns).plan
            if plan is not None:
                times.append(plan.solve_time_s)
                cut = sum(times) > most_solving_s
    return LockStepRun(judge.result(), tuple(times), np.stack(positions), cut)
