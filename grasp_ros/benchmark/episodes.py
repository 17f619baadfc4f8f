"""Closed-loop episodes in lock step with the simulator: planning takes no simulated time.

Each control period the camera's picture is observed, the command due now is taken, and the next
plan is made; a plan acts one period after its picture, as it does on the node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grasp_ros.core.controller import Controller
from grasp_ros.sim.episodes import Episode
from grasp_ros.sim.two_rooms import METRES_PER_PIXEL, TwoRooms

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class EpisodeResult:
    """What became of an episode.

    Attributes:
        seed: of the episode.
        through_door: whether start and goal lie in different rooms.
        reached: within the tolerance for `stay` periods in a row, within the budget.
        steps: control periods until it entered the tolerance to stay, or the budget.
        final_distance_px: true distance from the goal at the end.
        solve_times_s: of all solves.
    """

    seed: int
    through_door: bool
    reached: bool
    steps: int
    final_distance_px: float
    solve_times_s: tuple[float, ...]


def run_episode(
    controller: Controller,
    world: TwoRooms,
    episode: Episode,
    *,
    budget: int = 75,
    tolerance_px: float = 5.0,
    stay: int = 10,
    replan_every: int = 1,
) -> EpisodeResult:
    """Drive one episode.

    Args:
        controller: of the planner to judge; it is reset.
        world: the task.
        episode: start and goal.
        budget: control periods to arrive and stay in.
        tolerance_px: of the arrival.
        stay: control periods to remain within it.
        replan_every: control periods between replans; a plan must live so long.
    """
    controller.reset()
    period = world.control_period
    position = episode.start[None]
    controller.set_goal(world.render(episode.goal[None])[0])
    inside = 0
    times: list[float] = []
    distance = float('inf')
    for step in range(budget + 1):
        distance = float(np.linalg.norm(position[0] - episode.goal)) / METRES_PER_PIXEL
        inside = inside + 1 if distance <= tolerance_px else 0
        if inside > stay:
            return EpisodeResult(
                episode.seed, episode.through_door, True, step - stay, distance, tuple(times)
            )
        now_ns = round(step * period * NANOSECONDS)
        controller.observe(world.render(position)[0], now_ns)
        command = controller.command(now_ns)
        action = np.zeros(2) if command.action is None else command.action
        position = world.advance(position, action[None], period)
        if step % replan_every:
            continue
        report = controller.plan(now_ns)
        if report.plan is not None:
            times.append(report.plan.solve_time_s)
    return EpisodeResult(
        episode.seed, episode.through_door, False, budget, distance, tuple(times)
    )
