"""The rooms: two rooms with a door, and the maze of 3 x 3 rooms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, ROBOT, WalledWorld

__all__ = ['METRES_PER_PIXEL', 'ROBOT', 'TwoRooms', 'draw_two_rooms']


@dataclass(frozen=True)
class TwoRooms(WalledWorld):
    """Two rooms side by side.

    Attributes:
        wall_thickness: thickness of the dividing wall, px.
        door_centre: distance of the door's centre from the picture's lower edge, px.
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
