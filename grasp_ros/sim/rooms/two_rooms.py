"""The default task: a round robot in two rooms joined by a door."""

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
