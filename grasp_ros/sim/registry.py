"""The benchmark's tasks: which world, start and goal belong to a seed, and the step budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.motion import sample_free
from grasp_ros.sim.rooms.episodes import Episode, make_episode, path_lengths
from grasp_ros.sim.rooms.layouts import TwoRooms, draw_maze, draw_two_rooms
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld

BUDGET_PER_STEP = 1.5
BUDGET_SPARE = 20
DRAWN_AT_ONCE = 64
LENGTH_RANGE = 20.0


@dataclass(frozen=True)
class Task:
    """A simulated task of reaching goal pictures.

    Attributes:
        name: of the task and of its model.
        draw: the world of an episode.
        drawn: whether worlds differ.
        shortest_steps: of the time-optimal path from start to goal.
        longest_steps: of the same.
    """

    name: str
    draw: Callable[[np.random.Generator], WalledWorld]
    drawn: bool
    shortest_steps: float
    longest_steps: float


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task('two_room', lambda rng: TwoRooms(), False, 0.0, np.inf),
        Task('two_room_drawn_door', draw_two_rooms, True, 15.0, 40.0),
        Task('maze', draw_maze, True, 40.0, 120.0),
    )
}


@dataclass(frozen=True)
class TaskEpisode:
    """An episode in its world.

    Attributes:
        world: where.
        episode: start and goal.
        optimal_steps: control periods of the time-optimal path.
        budget: control periods within which the robot must have arrived and stayed.
    """

    world: WalledWorld
    episode: Episode
    optimal_steps: float
    budget: int


def task_episode(task: Task, seed: int) -> TaskEpisode:
    """The episode of a seed; in drawn worlds start and goal lie in different rooms."""
    if not task.drawn:
        world = task.draw(np.random.default_rng(seed))
        episode = make_episode(world, seed)
        steps = optimal_steps(
            world, episode.goal[None] / METRES_PER_PIXEL, episode.start[None] / METRES_PER_PIXEL
        )[0]
        return _with_budget(world, episode, steps)
    rng = np.random.default_rng([seed, 20262])
    # Uniform over lengths: most pairs of positions are near each other.
    least = rng.uniform(task.shortest_steps, task.longest_steps - LENGTH_RANGE)
    while True:
        world = task.draw(rng)
        starts, goals = np.split(sample_free(world, 2 * DRAWN_AT_ONCE, rng), 2)
        steps = optimal_steps(world, goals, starts)
        suits = (steps >= least) & (steps <= least + LENGTH_RANGE)
        suits &= world.room(starts) != world.room(goals)
        if suits.any():
            first = int(np.argmax(suits))
            start, goal = starts[first] * METRES_PER_PIXEL, goals[first] * METRES_PER_PIXEL
            return _with_budget(world, Episode(seed, start, goal, True), steps[first])


def optimal_steps(
    world: WalledWorld, goals: NDArray[np.float64], starts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Control periods (N,) of the time-optimal paths between positions (N, 2) in px."""
    return path_lengths(world, goals, starts, norm=np.inf) / world.pixels_per_step


def _with_budget(world: WalledWorld, episode: Episode, steps: float) -> TaskEpisode:
    budget = round(BUDGET_PER_STEP * steps) + BUDGET_SPARE
    return TaskEpisode(world, episode, float(steps), budget)
