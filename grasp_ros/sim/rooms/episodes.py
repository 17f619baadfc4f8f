"""Start, goal and budget of each episode by seed, and true path lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, sample_free
from grasp_ros.sim.success import EndMonitor, ReachMonitor, Rules

MIN_PATH_PX = 40.0
MAX_PATH_PX = 80.0
BUDGET_PER_STEP = 1.5
BUDGET_SPARE = 20
DRAWN_AT_ONCE = 64
LENGTH_RANGE = 20.0


@dataclass(frozen=True)
class Episode:
    """One task: drive from `start` to the place that the goal image shows.

    Attributes:
        seed: of this episode.
        start: (2,) in metres.
        goal: (2,) in metres.
        through_door: whether start and goal lie in different rooms.
    """

    seed: int
    start: NDArray[np.float64]
    goal: NDArray[np.float64]
    through_door: bool


def make_episode(world: WalledWorld, seed: int) -> Episode:
    """Draw an episode: even seeds lead to the other room, odd ones stay in the same.

    Paths to the other room are 40 to 80 px long around the walls, those within a room at least
    15 px, so that no episode is solved by standing still.
    """
    rng = np.random.default_rng([seed, 20260])
    through_door = seed % 2 == 0
    while True:
        start, goal = sample_free(world, 2, rng)
        if (world.room(start) != world.room(goal)) != through_door:
            continue
        straight = float(np.linalg.norm(goal - start))
        if not through_door and straight >= 15.0:
            break
        if through_door:
            length = path_lengths(world, goal[None], start[None])[0]
            if MIN_PATH_PX <= length <= MAX_PATH_PX:
                break
    return Episode(seed, start * METRES_PER_PIXEL, goal * METRES_PER_PIXEL, through_door)


@dataclass(frozen=True)
class RoomsEpisode:
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


@dataclass(frozen=True)
class DrawnLengths:
    """Range of the time-optimal paths from start to goal in drawn worlds, control periods."""

    shortest: float
    longest: float


def fixed_episode(world: WalledWorld, seed: int) -> RoomsEpisode:
    """The episode of a seed in a world that is always the same; see `make_episode`."""
    episode = make_episode(world, seed)
    steps = optimal_steps(
        world, episode.goal[None] / METRES_PER_PIXEL, episode.start[None] / METRES_PER_PIXEL
    )[0]
    return _with_budget(world, episode, steps)


def drawn_episode(
    draw: Callable[[np.random.Generator], WalledWorld], lengths: DrawnLengths, seed: int
) -> RoomsEpisode:
    """The episode of a seed in a world drawn for it; start and goal lie in different rooms."""
    rng = np.random.default_rng([seed, 20262])
    # Uniform over lengths: most pairs of positions are near each other.
    least = rng.uniform(lengths.shortest, lengths.longest - LENGTH_RANGE)
    while True:
        world = draw(rng)
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


def _with_budget(world: WalledWorld, episode: Episode, steps: float) -> RoomsEpisode:
    budget = round(BUDGET_PER_STEP * steps) + BUDGET_SPARE
    return RoomsEpisode(world, episode, float(steps), budget)


class RoomsSimulation:
    """Simulated episode in rooms, see `grasp_ros.sim.closed_loop`.

    Attributes:
        world: where.
        monitor: of success.
        positions: (2,) in metres, at the start and after each step.
    """

    def __init__(
        self, world: WalledWorld, episode: Episode, rules: Rules, whole: bool = False
    ) -> None:
        """Begin an episode.

        Args:
            world: where.
            episode: start and goal.
            rules: of success.
            whole: only where the robot is when the budget is used up counts.
        """
        self.world = world
        self.goal_image = world.render(episode.goal[None])[0]
        kind = EndMonitor if whole else ReachMonitor
        self.monitor: EndMonitor | ReachMonitor = kind(
            episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
        )
        self.positions = [episode.start]

    def observe(self) -> NDArray[np.uint8]:
        """See SimulatedEpisode."""
        return self.world.render(self.positions[-1][None])[0]

    def step(self, command: NDArray[np.float64]) -> None:
        """Drive with a velocity (2,) in m/s; see SimulatedEpisode."""
        here, world = self.positions[-1][None], self.world
        self.positions.append(world.advance(here, command[None], world.control_period)[0])

    def ended(self) -> bool:
        """See SimulatedEpisode."""
        return self.monitor.update(self.positions[-1] / METRES_PER_PIXEL)


def path_lengths(
    world: WalledWorld,
    goals: NDArray[np.float64],
    starts: NDArray[np.float64],
    norm: float = 2.0,
) -> NDArray[np.float64]:
    """Shortest collision-free path lengths in px.

    Args:
        world: the task.
        goals: (N, 2) in px.
        starts: (N, 2) in px.
        norm: 2 for Euclidean length; infinity for that of the faster coordinate, which decides
            how long a robot with limited velocity components takes.

    Returns:
        (N,) lengths: straight where the line is free, else along a 1 px grid of 16 headings.
    """
    graph, index = _grid(world, norm)
    nodes, inverse = np.unique(_cell(world, goals, index), return_inverse=True)
    along_grid = dijkstra(graph, indices=nodes)[inverse, _cell(world, starts, index)]
    fractions = np.linspace(0.0, 1.0, 129)[:, None, None]
    line = starts[None] * (1 - fractions) + goals[None] * fractions
    clear = world.is_free(line).all(axis=0)
    straight = np.linalg.norm(goals - starts, ord=norm, axis=-1)
    return np.where(clear, straight, along_grid)


def _cell(
    world: WalledWorld, pixels: NDArray[np.float64], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Nearest free grid node of each position (N, 2)."""
    free = np.argwhere(index >= 0)
    distance = np.linalg.norm(pixels[:, None] - free[None], axis=-1)
    nearest = free[distance.argmin(axis=1)]
    return np.asarray(index[nearest[:, 0], nearest[:, 1]])


@lru_cache(maxsize=8)
def _grid(world: WalledWorld, norm: float) -> tuple[coo_matrix, NDArray[np.int64]]:
    """Graph over the free integer positions, each joined to its neighbours in 16 headings."""
    cells = np.stack(np.meshgrid(*[np.arange(world.size + 1)] * 2, indexing='ij'), axis=-1)
    free = world.is_free(cells.astype(np.float64))
    index = np.full(free.shape, -1)
    index[free] = np.arange(free.sum())
    rows, columns, weights = [], [], []
    moves = [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)]
    nodes = np.argwhere(free)
    for move in moves:
        target = nodes + np.array(move)
        inside = ((target >= 0) & (target <= world.size)).all(axis=1)
        begin, end = nodes[inside], target[inside]
        connected = free[end[:, 0], end[:, 1]] & world.is_free((begin + end) / 2)
        rows.append(index[begin[connected, 0], begin[connected, 1]])
        columns.append(index[end[connected, 0], end[connected, 1]])
        weights.append(np.full(connected.sum(), np.linalg.norm(move, ord=norm)))
    row, column = np.concatenate(rows), np.concatenate(columns)
    weight = np.concatenate(weights)
    count = int(free.sum())
    graph = coo_matrix(
        (np.tile(weight, 2), (np.concatenate([row, column]), np.concatenate([column, row]))),
        shape=(count, count),
    )
    return graph.tocsr(), index
