"""Symmetries of the Push-T table: recorded motion mirrored and turned is as good as recorded.

Table and block are symmetric, so each of the eight symmetries of a square maps motion to motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.push_t.world import WALL_HIGH, WALL_LOW

SYMMETRIES = 8
CENTRE = (WALL_LOW + WALL_HIGH) / 2


def matrix(symmetry: int) -> NDArray[np.float64]:
    """The map (2, 2) of displacements; 0 changes nothing.

    Args:
        symmetry: 0 to 7: bit 0 swaps x and y, then bit 1 mirrors x and bit 2 mirrors y.
    """
    swap = np.eye(2)[::-1] if symmetry & 1 else np.eye(2)
    mirror = np.array([-1.0 if symmetry & 2 else 1.0, -1.0 if symmetry & 4 else 1.0])
    return np.asarray(mirror[:, None] * swap)


def transform_states(states: NDArray[np.float64], symmetry: int) -> NDArray[np.float64]:
    """States (..., 10) of the table mirrored and turned."""
    change = matrix(symmetry)
    new = states.copy()
    for place in (slice(0, 2), slice(2, 4)):
        new[..., place] = (states[..., place] - CENTRE) @ change.T + CENTRE
    for velocity in (slice(5, 7), slice(7, 9)):
        new[..., velocity] = states[..., velocity] @ change.T
    # The block is its own mirror image, so that its upright bar's direction tells its angle.
    upright = np.stack([-np.sin(states[..., 4]), np.cos(states[..., 4])], axis=-1) @ change.T
    new[..., 4] = np.arctan2(-upright[..., 0], upright[..., 1])
    new[..., 9] = states[..., 9] * np.linalg.det(change)
    return new


def transform_commands(commands: NDArray[np.float64], symmetry: int) -> NDArray[np.float64]:
    """Displacements (..., 2) that do on the transformed table what these do on the other."""
    return np.asarray(commands @ matrix(symmetry).T)
