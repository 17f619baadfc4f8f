"""Meaning of the numbers in a command: kind, limits, statistics. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class ActionKind(str, Enum):
    """Kind of quantity that an action commands; it decides which action stops the robot."""

    VELOCITY = 'velocity'
    EFFORT = 'effort'
    RELATIVE = 'relative'
    POSITION = 'position'


@dataclass(frozen=True, eq=False)
class ActionSpace:
    """Actions in physical units, and how a model's normalised actions map to them.

    Attributes:
        kind: what an action commands.
        names: (R,) names of the components of one command.
        units: (R,) SI units (REP-103).
        low: (R,) lower limits.
        high: (R,) upper limits.
        mean: (R,) of the training data.
        std: (R,) of the training data, positive.
        frame_skip: commands in one model step; a model action is all of them, A = R * skip.
    """

    kind: ActionKind
    names: tuple[str, ...]
    units: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    frame_skip: int = 1

    @property
    def size(self) -> int:
        """Components R of one command."""
        return len(self.names)

    def normalise(self, commands: NDArray[np.float64]) -> NDArray[np.float64]:
        """Physical commands (..., frame_skip, R) to normalised actions (..., A)."""
        normal = (commands - self.mean) / self.std
        return normal.reshape(*commands.shape[:-2], self.frame_skip * self.size)

    def denormalise(self, actions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised actions (..., A) to physical commands (..., frame_skip, R)."""
        shaped = actions.reshape(*actions.shape[:-1], self.frame_skip, self.size)
        return shaped * self.std + self.mean
