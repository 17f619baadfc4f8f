"""A round robot among axis-aligned walls, seen by a top-down camera.

World frame: metres, x to the right and y up in the picture (REP-103 axes, seen from above), the
origin in the picture's lower left corner. Everything is batched over robots.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRES_PER_PIXEL = 0.05
FLOOR_LEFT = (226, 226, 214)
FLOOR_RIGHT = (212, 222, 230)
WALL = (70, 74, 84)
ROBOT = (200, 52, 44)


@dataclass(frozen=True)
class WalledWorld(ABC):
    """Geometry in camera pixels (1 px = 0.05 m), limits in SI units.

    Attributes:
        size: side of the square world and picture, px.
        border: thickness of the outer walls, px.
        robot_radius: px.
        max_speed: limit of each velocity component, m/s.
        control_period: how long one velocity command is held, s.
        physics_period: longest integration step, s.
    """

    size: int = 64
    border: float = 2.0
    robot_radius: float = 2.5
    max_speed: float = 1.0
    control_period: float = 0.1
    physics_period: float = 0.01

    @property
    @abstractmethod
    def inner_walls(self) -> NDArray[np.float64]:
        """Solid boxes (W, 4) between the rooms as x_min, y_min, x_max, y_max in px."""

    @property
    @abstractmethod
    def doors(self) -> NDArray[np.float64]:
        """Centres of the doors (N, 2) in px."""

    @abstractmethod
    def room(self, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of the room of each position (..., 2) in px."""

    @property
    def pixels_per_step(self) -> float:
        """How far each coordinate moves in one control period at full speed, px."""
        return self.max_speed * self.control_period / METRES_PER_PIXEL

    @property
    def walls(self) -> NDArray[np.float64]:
        """All solid boxes (4 + W, 4) as x_min, y_min, x_max, y_max in px."""
        size, border = float(self.size), self.border
        outer = [
            [-size, -size, border, 2 * size],
            [size - border, -size, 2 * size, 2 * size],
            [-size, -size, 2 * size, border],
            [-size, size - border, 2 * size, 2 * size],
        ]
        return np.concatenate([np.array(outer), self.inner_walls])

    def is_free(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether robots centred at `pixels` (..., 2) touch no wall."""
        clearance = _clearance(pixels, self.walls)
        return np.asarray((clearance >= self.robot_radius - 1e-9).all(axis=-1))

    def advance(
        self, positions: NDArray[np.float64], velocities: NDArray[np.float64], duration: float
    ) -> NDArray[np.float64]:
        """Move robots for `duration` seconds; walls stop the motion into them.

        Args:
            positions: (B, 2) in metres.
            velocities: (B, 2) in m/s, clipped to `max_speed` per component.
            duration: seconds, integrated in equal steps of at most `physics_period`.

        Returns:
            The new positions (B, 2) in metres, touching walls at most.
        """
        if duration <= 0:
            return positions.copy()
        steps = max(1, math.ceil(duration / self.physics_period - 1e-9))
        period = duration / steps
        pixels = positions / METRES_PER_PIXEL
        velocity = np.clip(velocities, -self.max_speed, self.max_speed) / METRES_PER_PIXEL
        walls = self.walls
        for _ in range(steps):
            pixels = self._push_out(pixels + velocity * period, walls)
        return pixels * METRES_PER_PIXEL

    def render(self, positions: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Pictures (B, size, size, 3) uint8 RGB of robots at `positions` (B, 2) in metres."""
        backgrounds = np.repeat(self.background()[None], len(positions), axis=0)
        return paint_robots(backgrounds, positions, self.robot_radius)

    def background(self) -> NDArray[np.uint8]:
        """The picture without a robot (size, size, 3) uint8 RGB."""
        centres = np.arange(self.size) + 0.5
        x, y = np.meshgrid(centres, self.size - centres)
        right_room = (x > self.size / 2)[..., None]
        picture = np.where(right_room, FLOOR_RIGHT, FLOOR_LEFT).astype(np.uint8)
        for x_min, y_min, x_max, y_max in self.walls:
            picture[(x > x_min) & (x < x_max) & (y > y_min) & (y < y_max)] = WALL
        return picture

    def _push_out(
        self, pixels: NDArray[np.float64], walls: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Move discs that overlap a wall out of it along the shortest way."""
        # Pushed out of one wall, a disc may reach the next, but never farther than its radius.
        near = (_clearance(pixels, walls) < 2 * self.robot_radius).any(axis=0)
        for x_min, y_min, x_max, y_max in walls[near]:
            low, high = np.array([x_min, y_min]), np.array([x_max, y_max])
            offset = pixels - np.clip(pixels, low, high)
            distance = np.linalg.norm(offset, axis=-1, keepdims=True)
            overlaps = (distance < self.robot_radius) & (distance > 0)
            scale = np.where(overlaps, self.robot_radius / np.maximum(distance, 1e-12), 1.0)
            pixels = np.where(overlaps, pixels - offset + offset * scale, pixels)
        return pixels


def paint_robots(
    pictures: NDArray[np.uint8], positions: NDArray[np.float64], robot_radius: float
) -> NDArray[np.uint8]:
    """Paint one robot into each picture, in place.

    Args:
        pictures: (B, size, size, 3) uint8 RGB without robots.
        positions: (B, 2) in metres.
        robot_radius: px.

    Returns:
        `pictures`.
    """
    size = pictures.shape[1]
    pixels = (positions / METRES_PER_PIXEL).astype(np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    dx = centres[None, None, :] - pixels[:, 0, None, None]
    dy = (size - centres)[None, :, None] - pixels[:, 1, None, None]
    coverage = np.clip(robot_radius + 0.5 - np.sqrt(dx * dx + dy * dy), 0.0, 1.0)
    which, row, column = np.nonzero(coverage)
    alpha = coverage[which, row, column][:, None]
    floor = pictures[which, row, column]
    blended = (1 - alpha) * floor + alpha * np.array(ROBOT, np.float32)
    pictures[which, row, column] = np.rint(blended).astype(np.uint8)
    return pictures


def _clearance(
    pixels: NDArray[np.float64], walls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each position (..., 2) from each wall (W, 4), (..., W) in px."""
    nearest = np.clip(pixels[..., None, :], walls[:, :2], walls[:, 2:])
    return np.asarray(np.linalg.norm(pixels[..., None, :] - nearest, axis=-1))
