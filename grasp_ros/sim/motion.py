"""Random motion that covers a task's state space: the data a world model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld, sample_free


@dataclass(frozen=True)
class MotionData:
    """Episodes of random motion.

    Attributes:
        positions: (E, L + 1, 2) in metres, before each action and after the last.
        actions: (E, L, 2) commanded velocities in m/s.
        layouts: how many worlds the episodes are of, each with equally many in a row.
    """

    positions: NDArray[np.float64]
    actions: NDArray[np.float64]
    layouts: int = 1


def correlated_velocities(
    episodes: int, length: int, max_speed: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Velocity commands (episodes, length, 2) in m/s held for 4 to 20 steps, with small noise.

    Headings are uniform. Speeds reach beyond the box's inscribed circle, so that its corners are
    seen too; one segment in eight stands still.
    """
    segments = length // 4 + 1
    durations = rng.integers(4, 21, size=(episodes, segments))
    ends = durations.cumsum(axis=1)
    segment = (ends[:, None, :] <= np.arange(length)[None, :, None]).sum(axis=-1)
    heading = rng.uniform(-np.pi, np.pi, (episodes, segments))
    speed = rng.uniform(0.2, 1.45, (episodes, segments)) * max_speed
    speed[rng.random((episodes, segments)) < 0.125] = 0.0
    velocity = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    held = np.take_along_axis(velocity, segment[..., None], axis=1)
    noisy = held + rng.normal(0.0, 0.08 * max_speed, held.shape) * (held != 0)
    return np.clip(noisy, -max_speed, max_speed)


def collect(
    world: WalledWorld,
    episodes: int,
    length: int,
    seed: int | Sequence[int],
    near_door: float = 0.25,
) -> MotionData:
    """Record random motion.

    Args:
        world: the task.
        episodes: number of episodes E.
        length: actions per episode L.
        seed: of all randomness.
        near_door: fraction of episodes that start within 8 px of a door.
    """
    rng = np.random.default_rng(seed)
    start = sample_free(world, episodes, rng)
    doors = world.doors
    for index in range(round(near_door * episodes)):
        while True:
            candidate = doors[index % len(doors)] + rng.uniform(-8.0, 8.0, 2)
            if world.is_free(candidate):
                start[index] = candidate
                break
    actions = correlated_velocities(episodes, length, world.max_speed, rng)
    positions = [start * METRES_PER_PIXEL]
    for step in range(length):
        positions.append(
            world.advance(positions[-1], actions[:, step], world.control_period)
        )
    order = rng.permutation(episodes)
    return MotionData(np.stack(positions, axis=1)[order], actions[order])


def collect_layouts(
    worlds: Sequence[WalledWorld], episodes_each: int, length: int, seed: int, near_door: float
) -> MotionData:
    """Record random motion in each of several worlds; see `collect`."""
    parts = [
        collect(world, episodes_each, length, [seed, index], near_door)
        for index, world in enumerate(tqdm(worlds, desc='motion', unit='layout'))
    ]
    return MotionData(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.actions for part in parts]),
        layouts=len(worlds),
    )
