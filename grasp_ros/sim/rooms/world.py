"""Worlds of walls with a round robot, seen by a top-down camera: two rooms, and a maze of rooms.

World frame: metres, x to the right and y up in the image (REP-103 axes, seen from above), the
origin in the image's lower left corner. Everything is batched over robots.
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
        size: side of the square world and image, px.
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
        """Distance that each coordinate moves in one control period at full speed, px."""
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
        """Return whether robots centred at `pixels` (..., 2) touch no wall."""
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
        """Images (B, size, size, 3) uint8 RGB of robots at `positions` (B, 2) in metres."""
        backgrounds = np.repeat(self.background()[None], len(positions), axis=0)
        return paint_robots(backgrounds, positions, self.robot_radius)

    def background(self) -> NDArray[np.uint8]:
        """The image without a robot (size, size, 3) uint8 RGB."""
        centres = np.arange(self.size) + 0.5
        x, y = np.meshgrid(centres, self.size - centres)
        right_room = (x > self.size / 2)[..., None]
        image = np.where(right_room, FLOOR_RIGHT, FLOOR_LEFT).astype(np.uint8)
        for x_min, y_min, x_max, y_max in self.walls:
            image[(x > x_min) & (x < x_max) & (y > y_min) & (y < y_max)] = WALL
        return image

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


def sample_free(world: WalledWorld, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform free positions (count, 2) in px."""
    free = np.empty((0, 2))
    while len(free) < count:
        candidates = rng.uniform(0, world.size, (2 * count, 2))
        free = np.concatenate([free, candidates[world.is_free(candidates)]])
    return free[:count]


def paint_robots(
    images: NDArray[np.uint8], positions: NDArray[np.float64], robot_radius: float
) -> NDArray[np.uint8]:
    """Paint one robot into each image, in place.

    Args:
        images: (B, size, size, 3) uint8 RGB without robots.
        positions: (B, 2) in metres.
        robot_radius: px.

    Returns:
        `images`.
    """
    size = images.shape[1]
    pixels = (positions / METRES_PER_PIXEL).astype(np.float32)
    centres = np.arange(size, dtype=np.float32) + 0.5
    dx = centres[None, None, :] - pixels[:, 0, None, None]
    dy = (size - centres)[None, :, None] - pixels[:, 1, None, None]
    coverage = np.clip(robot_radius + 0.5 - np.sqrt(dx * dx + dy * dy), 0.0, 1.0)
    which, row, column = np.nonzero(coverage)
    alpha = coverage[which, row, column][:, None]
    floor = images[which, row, column]
    blended = (1 - alpha) * floor + alpha * np.array(ROBOT, np.float32)
    images[which, row, column] = np.rint(blended).astype(np.uint8)
    return images


def _clearance(
    pixels: NDArray[np.float64], walls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each position (..., 2) from each wall (W, 4), (..., W) in px."""
    nearest = np.clip(pixels[..., None, :], walls[:, :2], walls[:, 2:])
    return np.asarray(np.linalg.norm(pixels[..., None, :] - nearest, axis=-1))


@dataclass(frozen=True)
class TwoRooms(WalledWorld):
    """Two rooms side by side.

    Attributes:
        wall_thickness: thickness of the dividing wall, px.
        door_centre: distance of the door's centre from the image's lower edge, px.
        door_width: clear width of the door, px.
    """

    wall_thickness: float = 4.0
    door_centre: float = 46.0
    door_width: float = 12.0

    @property
    def inner_walls(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        left = (self.size - self.wall_thickness) / 2
        right = left + self.wall_thickness
        door_low = self.door_centre - self.door_width / 2
        door_high = self.door_centre + self.door_width / 2
        return np.array([[left, 0.0, right, door_low], [left, door_high, right, self.size]])

    @property
    def doors(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        return np.array([[self.size / 2, self.door_centre]])

    def room(self, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Room of each position (..., 2): 0 left, 1 right of the dividing wall's middle."""
        return (pixels[..., 0] > self.size / 2).astype(np.int64)


def draw_two_rooms(rng: np.random.Generator) -> TwoRooms:
    """Two rooms whose door is anywhere along the dividing wall."""
    world = TwoRooms()
    margin = world.border + world.door_width / 2
    return TwoRooms(door_centre=float(rng.uniform(margin, world.size - margin)))


SIDE = 3
DOOR_SHIFT = 2.0
Door = tuple[int, int, float]
"""Rooms on both sides, and how far the door is from the middle of their wall, px."""


@dataclass(frozen=True)
class Maze(WalledWorld):
    """Rooms in a square grid, numbered row by row from the lower left; slower than two rooms.

    Attributes:
        layout: the doors; neighbouring rooms that are not named have a closed wall between them.
        wall_thickness: px.
        door_width: clear width, px.
    """

    max_speed: float = 0.5
    physics_period: float = 0.025
    layout: tuple[Door, ...] = ()
    wall_thickness: float = 3.0
    door_width: float = 10.0

    @property
    def pitch(self) -> float:
        """Distance between the centres of neighbouring rooms, px."""
        return (self.size - 2 * self.border + self.wall_thickness) / SIDE

    def centre(self, room: int) -> NDArray[np.float64]:
        """Centre (2,) of a room in px."""
        first = self.border + (self.pitch - self.wall_thickness) / 2
        return first + self.pitch * np.array([room % SIDE, room // SIDE])

    @property
    def inner_walls(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        half = self.wall_thickness / 2
        open_doors = {(first, second): shift for first, second, shift in self.layout}
        walls = []
        for first, second in neighbours():
            middle = (self.centre(first) + self.centre(second)) / 2
            along = 1 if second == first + 1 else 0
            low, high = middle - half, middle + half
            low[along] = middle[along] - self.pitch / 2 - half
            high[along] = middle[along] + self.pitch / 2 + half
            if (first, second) not in open_doors:
                walls.append([*low, *high])
                continue
            door = middle[along] + open_doors[first, second]
            before, after = high.copy(), low.copy()
            before[along] = door - self.door_width / 2
            after[along] = door + self.door_width / 2
            walls += [[*low, *before], [*after, *high]]
        return np.array(walls)

    @property
    def doors(self) -> NDArray[np.float64]:
        """See WalledWorld."""
        places = []
        for first, second, shift in self.layout:
            place = (self.centre(first) + self.centre(second)) / 2
            place[1 if second == first + 1 else 0] += shift
            places.append(place)
        return np.array(places)

    def room(self, pixels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of the room of each position (..., 2), to the middle of its walls."""
        first = self.border - self.wall_thickness / 2
        cell = np.clip((pixels - first) // self.pitch, 0, SIDE - 1).astype(np.int64)
        return np.asarray(cell[..., 0] + SIDE * cell[..., 1])


def neighbours() -> list[tuple[int, int]]:
    """All pairs of rooms with a common wall, the smaller number first."""
    beside = [(room, room + 1) for room in range(SIDE * SIDE) if room % SIDE < SIDE - 1]
    above = [(room, room + SIDE) for room in range(SIDE * (SIDE - 1))]
    return beside + above


def draw_maze(rng: np.random.Generator) -> Maze:
    """Three corridors of three rooms, upright or level, each joined to the next by one drawn door.

    Exactly one way leads from each room to each other one; from one end of a corridor to the
    nearest place beside it, it may lead through the whole maze.
    """
    upright = rng.random() < 0.5
    along, across = (SIDE, 1) if upright else (1, SIDE)
    corridors = [
        (line * across + place * along, line * across + (place + 1) * along)
        for line in range(SIDE)
        for place in range(SIDE - 1)
    ]
    places = rng.integers(0, SIDE, SIDE - 1)
    links = [
        (line * across + int(place) * along, (line + 1) * across + int(place) * along)
        for line, place in enumerate(places)
    ]
    shifts = rng.uniform(-DOOR_SHIFT, DOOR_SHIFT, len(corridors) + len(links))
    edges = sorted(corridors + links)
    return Maze(
        layout=tuple((a, b, float(s)) for (a, b), s in zip(edges, shifts, strict=True))
    )
