"""The default task: a round robot in two rooms joined by a door, seen by a top-down camera.

World frame: metres, x to the right and y up in the picture (REP-103 axes, seen from above), the
origin in the picture's lower left corner. Everything is batched over robots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRES_PER_PIXEL = 0.05
FLOOR_LEFT = (226, 226, 214)
FLOOR_RIGHT = (212, 222, 230)
WALL = (70, 74, 84)
ROBOT = (200, 52, 44)


@dataclass(frozen=True)
class TwoRooms:
    """Geometry in camera pixels (1 px = 0.05 m), limits in SI units.

    Attributes:
        size: side of the square world and picture, px.
        border: thickness of the outer walls, px.
        wall_thickness: thickness of the dividing wall, px.
        door_centre: distance of the door's centre from the picture's lower edge, px.
        door_width: clear width of the door, px.
        robot_radius: px.
        max_speed: limit of each velocity component, m/s.
        control_period: how long one velocity command is held, s.
        physics_period: longest integration step, s.
    """

    size: int = 64
    border: float = 2.0
    wall_thickness: float = 4.0
    door_centre: float = 46.0
    door_width: float = 12.0
    robot_radius: float = 2.5
    max_speed: float = 1.0
    control_period: float = 0.1
    physics_period: float = 0.01

    @property
    def walls(self) -> NDArray[np.float64]:
        """Axis-aligned solid boxes (W, 4) as x_min, y_min, x_max, y_max in px."""
        size, border = float(self.size), self.border
        left = (size - self.wall_thickness) / 2
        right = left + self.wall_thickness
        door_low = self.door_centre - self.door_width / 2
        door_high = self.door_centre + self.door_width / 2
        return np.array(
            [
                [-size, -size, border, 2 * size],
                [size - border, -size, 2 * size, 2 * size],
                [-size, -size, 2 * size, border],
                [-size, size - border, 2 * size, 2 * size],
                [left, 0.0, right, door_low],
                [left, door_high, right, size],
            ]
        )

    def is_free(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether robots centred at `pixels` (..., 2) touch no wall."""
        distance = np.linalg.norm(pixels[..., None, :] - self._nearest_on_walls(pixels), axis=-1)
        return np.asarray((distance >= self.robot_radius - 1e-9).all(axis=-1))

    def room(self, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Room of each position (..., 2): 0 left, 1 right of the dividing wall's middle."""
        return (pixels[..., 0] > self.size / 2).astype(np.int64)

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
        for _ in range(steps):
            pixels = self._push_out(pixels + velocity * period)
        return pixels * METRES_PER_PIXEL

    def render(self, positions: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Pictures (B, size, size, 3) uint8 RGB of robots at `positions` (B, 2) in metres."""
        pixels = (positions / METRES_PER_PIXEL).astype(np.float32)
        centres = np.arange(self.size, dtype=np.float32) + 0.5
        dx = centres[None, None, :] - pixels[:, 0, None, None]
        dy = (self.size - centres)[None, :, None] - pixels[:, 1, None, None]
        coverage = np.clip(self.robot_radius + 0.5 - np.sqrt(dx * dx + dy * dy), 0.0, 1.0)
        background = self.background()
        pictures = np.repeat(background[None], len(pixels), axis=0)
        which, row, column = np.nonzero(coverage)
        alpha = coverage[which, row, column][:, None]
        blended = (1 - alpha) * background[row, column] + alpha * np.array(ROBOT, np.float32)
        pictures[which, row, column] = np.rint(blended).astype(np.uint8)
        return pictures

    def background(self) -> NDArray[np.uint8]:
        """The picture without a robot (size, size, 3) uint8 RGB."""
        centres = np.arange(self.size) + 0.5
        x, y = np.meshgrid(centres, self.size - centres)
        right_room = (x > self.size / 2)[..., None]
        picture = np.where(right_room, FLOOR_RIGHT, FLOOR_LEFT).astype(np.uint8)
        for x_min, y_min, x_max, y_max in self.walls:
            picture[(x > x_min) & (x < x_max) & (y > y_min) & (y < y_max)] = WALL
        return picture

    def _nearest_on_walls(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        walls = self.walls
        return np.clip(pixels[..., None, :], walls[:, :2], walls[:, 2:])

    def _push_out(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move discs that overlap a wall out of it along the shortest way."""
        for x_min, y_min, x_max, y_max in self.walls:
            low, high = np.array([x_min, y_min]), np.array([x_max, y_max])
            offset = pixels - np.clip(pixels, low, high)
            distance = np.linalg.norm(offset, axis=-1, keepdims=True)
            overlaps = (distance < self.robot_radius) & (distance > 0)
            scale = np.where(overlaps, self.robot_radius / np.maximum(distance, 1e-12), 1.0)
            pixels = np.where(overlaps, pixels - offset + offset * scale, pixels)
        return pixels
