"""A maze of nine rooms in three corridors, its doors drawn anew for each layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.rooms.world import WalledWorld

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
