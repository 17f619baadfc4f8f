"""A point mass in a U-shaped maze: commands accelerate it, so one image does not show its state.

Frames and the camera are those of `walled_world`. A state is (x, y, velocity x, velocity y) in
metres and m/s; velocity is proprioception, position is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.rooms.episodes import Episode, path_lengths
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, sample_free
from grasp_ros.sim.success import ReachMonitor, Rules

VELOCITY = slice(2, 4)
MIN_PATH_PX = 30.0
GOAL_GAIN, VELOCITY_GAIN = 2.0, 2.5
"""Of the scripted controller, 1/s^2 and 1/s: it comes to rest at its target."""
ARRIVED_M = 0.1


@dataclass(frozen=True)
class PointMaze(WalledWorld):
    """Two corridors joined at their right ends; the mass is dragged, as in oil.

    Attributes:
        max_speed: that of steady full acceleration, m/s.
        max_acceleration: limit of each component of a command, m/s^2.
        drag: velocity lost per second and velocity, 1/s.
        wall_end: where the wall between the corridors ends, px.
        wall_thickness: px.
    """

    max_speed: float = 1.5
    max_acceleration: float = 1.5
    drag: float = 1.0
    wall_end: float = 42.0
    wall_thickness: float = 10.0

    @property
    def inner_walls(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        low = (self.size - self.wall_thickness) / 2
        return np.array([[0.0, low, self.wall_end, low + self.wall_thickness]])

    @property
    def doors(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        return np.array([[(self.wall_end + self.size - self.border) / 2, self.size / 2]])

    def room(self, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Corridor of each position (..., 2): 0 below, 1 above the middle."""
        return (pixels[..., 1] > self.size / 2).astype(np.int64)

    def accelerate(
        self, states: NDArray[np.float64], accelerations: NDArray[np.float64], duration: float
    ) -> NDArray[np.float64]:
        """Let time pass; walls take the velocity into them, and no other.

        Args:
            states: (B, 4) in metres and m/s.
            accelerations: (B, 2) in m/s^2, clipped to `max_acceleration` per component.
            duration: seconds, integrated in equal steps of at most `physics_period`.

        Returns:
            The new states (B, 4).
        """
        if duration <= 0:
            return states.copy()
        steps = max(1, math.ceil(duration / self.physics_period - 1e-9))
        period = duration / steps
        kept = math.exp(-self.drag * period)
        pixels, velocity = states[:, :2] / METRES_PER_PIXEL, states[:, VELOCITY]
        limit = self.max_acceleration
        gained = np.clip(accelerations, -limit, limit) * (1 - kept) / self.drag
        walls = self.walls
        for _ in range(steps):
            before, velocity = velocity, kept * velocity + gained
            free = pixels + (before + velocity) / 2 * period / METRES_PER_PIXEL
            pixels = self._push_out(free, walls)
            pushed = pixels - free
            depth = np.linalg.norm(pushed, axis=-1, keepdims=True)
            normal = pushed / np.maximum(depth, 1e-12)
            inward = np.minimum((velocity * normal).sum(axis=-1, keepdims=True), 0.0)
            velocity = velocity - inward * normal
        return np.concatenate([pixels * METRES_PER_PIXEL, velocity], axis=-1)


@dataclass(frozen=True)
class MassMotion:
    """Recorded motion.

    Attributes:
        states: (E, L + 1, 4), before each command and after the last.
        accelerations: commands (E, L, 2) in m/s^2.
    """

    states: NDArray[np.float64]
    accelerations: NDArray[np.float64]


def draw_episode(world: PointMaze, seed: int) -> tuple[Episode, float]:
    """Start, at rest, and goal of a seed, and the length of the way between them in px.

    Even seeds lead around the bend, odd ones stay in the corridor; the way is at least 30 px long.
    """
    rng = np.random.default_rng([seed, 20265])
    around = seed % 2 == 0
    while True:
        start, goal = sample_free(world, 2, rng)
        if (world.room(start) != world.room(goal)) != around:
            continue
        length = float(path_lengths(world, goal[None], start[None])[0])
        if length >= MIN_PATH_PX:
            return Episode(seed, start * METRES_PER_PIXEL, goal * METRES_PER_PIXEL, around), length


def budget_for(way_px: float) -> int:
    """Control periods allowed for a way: 0.5 m/s on average, and 4 s."""
    return round(way_px) + 40


class PointMazeSimulation:
    """Simulated episode of the mass, see `grasp_ros.sim.closed_loop`.

    Attributes:
        world: where.
        monitor: of success.
        state: (4,) in metres and m/s.
    """

    def __init__(self, world: PointMaze, episode: Episode, rules: Rules) -> None:
        """Begin an episode at rest."""
        self.world = world
        self.goal_image = world.render(episode.goal[None])[0]
        self.monitor = ReachMonitor(
            episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
        )
        self.state = np.concatenate([episode.start, np.zeros(2)])

    def observe(self) -> NDArray[np.uint8]:
        """See SimulatedEpisode."""
        return self.world.render(self.state[None, :2])[0]

    def proprioception(self) -> NDArray[np.float64]:
        """Velocity (2,) in m/s."""
        return self.state[VELOCITY]

    def step(self, command: NDArray[np.float64]) -> None:
        """Accelerate by (2,) in m/s^2; see SimulatedEpisode."""
        period = self.world.control_period
        self.state = self.world.accelerate(self.state[None], command[None], period)[0]

    def ended(self) -> bool:
        """See SimulatedEpisode."""
        return self.monitor.update(self.state[:2] / METRES_PER_PIXEL)


def collect_mass_motion(
    world: PointMaze, episodes: int, length: int, rng: np.random.Generator
) -> MassMotion:
    """Record motion that covers places and velocities, with much braking and standing.

    Every other mass is driven by random accelerations, held for 2 to 12 steps; the others go from
    target to target that they come to rest at, with noise.

    Args:
        world: where.
        episodes: number of masses E.
        length: commands L of each.
        rng: of all randomness.
    """
    limit = world.max_acceleration
    states = np.concatenate(
        [
            sample_free(world, episodes, rng) * METRES_PER_PIXEL,
            rng.normal(0.0, world.max_speed / 4, (episodes, 2)),
        ],
        axis=-1,
    )
    driven = np.arange(episodes) % 2 == 0
    held, remaining = np.zeros((episodes, 2)), np.zeros(episodes, np.int64)
    targets = sample_free(world, episodes, rng) * METRES_PER_PIXEL
    all_states, all_commands = [states], []
    for _ in range(length):
        due = remaining == 0
        drawn = _random_accelerations(episodes, limit, rng)
        held[due] = drawn[due]
        remaining = np.where(due, rng.integers(2, 13, episodes), remaining) - 1
        offset = targets - states[:, :2]
        arrived = np.linalg.norm(offset, axis=-1) < ARRIVED_M
        # Some stay for a while: standing must be seen, too. Targets behind a wall are given up.
        change = rng.random(episodes) < np.where(arrived, 0.2, 0.03)
        targets[change] = sample_free(world, episodes, rng)[change] * METRES_PER_PIXEL
        steered = GOAL_GAIN * offset - VELOCITY_GAIN * states[:, VELOCITY]
        steered = steered + rng.normal(0.0, 0.1 * limit, steered.shape)
        commands = np.clip(np.where(driven[:, None], held, steered), -limit, limit)
        states = world.accelerate(states, commands, world.control_period)
        all_commands.append(commands)
        all_states.append(states)
    return MassMotion(np.stack(all_states, axis=1), np.stack(all_commands, axis=1))


def _random_accelerations(
    count: int, limit: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Accelerations (count, 2) of any heading; one in eight is zero, as when coasting."""
    heading = rng.uniform(-np.pi, np.pi, count)
    size = rng.uniform(0.2, 1.45, count) * limit
    size[rng.random(count) < 0.125] = 0.0
    return size[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
