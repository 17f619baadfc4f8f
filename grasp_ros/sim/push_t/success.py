"""Success of a Push-T episode: the criterion held once, in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.push_t.world import errors, succeeded


@dataclass(frozen=True)
class PushTResult:
    """Result of an episode.

    Attributes:
        seed: of the episode.
        reached: whether the criterion held in some control period.
        moves_block: whether the block had to move.
        steps: control periods until it held; all that were taken where it did not.
        position_px: error of agent and block together then.
        angle_rad: error of the block's angle then.
    """

    seed: int
    reached: bool
    moves_block: bool
    steps: int
    position_px: float
    angle_rad: float

    @property
    def group(self) -> str:
        """See Result."""
        return 'block_moves' if self.moves_block else 'block_rests'

    def row(self) -> dict[str, Any]:
        """See Result."""
        known = not math.isnan(self.position_px)
        return {
            'seed': self.seed,
            'reached': self.reached,
            'moves_block': self.moves_block,
            'steps': self.steps,
            'position_px': round(self.position_px, 2) if known else None,
            'angle_deg': round(math.degrees(self.angle_rad), 2) if known else None,
        }


class PushTMonitor:
    """Watches one table from the start of an episode; step 0 is what it is like then."""

    def __init__(self, seed: int, moves_block: bool, goal: ArrayLike, budget: int) -> None:
        """Begin an episode.

        Args:
            seed: of the episode, for the result.
            moves_block: whether the block must move, for the result.
            goal: true state (>= 5,) to come to, see `grasp_ros.sim.push_t.world`.
            budget: control periods within which the criterion must hold once.
        """
        self._seed, self._moves_block, self._budget = seed, moves_block, budget
        self._goal: NDArray[np.float64] = np.asarray(goal, dtype=np.float64)
        self._step = -1
        self._reached = False
        self._errors = (math.nan, math.nan)

    @property
    def ended(self) -> bool:
        """Return whether the episode is decided."""
        return self._reached or self._step >= self._budget

    def update(self, state: ArrayLike) -> bool:
        """Take the true state (>= 5,) of the next control period; whether it is decided."""
        if self.ended:
            return True
        self._step += 1
        now = np.asarray(state, dtype=np.float64)
        position, angle = errors(now, self._goal)
        self._errors = float(position), float(angle)
        self._reached = bool(succeeded(now, self._goal))
        return self.ended

    def progress(self) -> str:
        """One line for people."""
        position, angle = self._errors
        return (
            f'step {self._step}/{self._budget}, {position:.0f} px and '
            f'{math.degrees(angle):.0f} deg to go'
        )

    def result(self) -> PushTResult:
        """Result so far, at any time."""
        return PushTResult(
            self._seed, self._reached, self._moves_block, max(0, self._step), *self._errors
        )
