"""One run towards a goal, from acceptance to its outcome; never reads a clock."""

from __future__ import annotations

import math
from enum import IntEnum

from grasp_ros.control.types import State


class Outcome(IntEnum):
    """How a run ended; the values are those of grasp_ros/action/ReachGoal."""

    REACHED = 0
    STALLED = 1
    TIMED_OUT = 2
    CANCELLED = 3
    ABORTED = 4


class GoalRun:
    """Judges a run at each control tick.

    Attributes:
        elapsed_s: since acceptance, seconds.
        distance: goal distance of the newest picture; NaN while unknown.
    """

    def __init__(self, timeout_s: float, hold_s: float) -> None:
        """Begin.

        Args:
            timeout_s: to arrive and hold; 0 for none.
            hold_s: how long the goal must count as reached, without a break.
        """
        self._timeout_s = timeout_s
        self._hold_s = hold_s
        self._held_s: float | None = None
        self._first: float | None = None
        self.elapsed_s = 0.0
        self.distance = math.nan

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the goal, by the goal distance."""
        if self._first is None or not self._first > 0:
            return 0.0 if self._first is None else 1.0
        return min(max(1 - self.distance / self._first, 0.0), 1.0)

    def advance(self, seconds: float, state: State, distance: float) -> Outcome | None:
        """The outcome, or None while the run goes on.

        Args:
            seconds: since the last tick, >= 0.
            state: of the controller now.
            distance: goal distance of the newest picture; NaN while unknown.
        """
        self.elapsed_s += seconds
        if math.isfinite(distance):
            self.distance = distance
            if self._first is None:
                self._first = distance
        if state is State.REACHED:
            self._held_s = 0.0 if self._held_s is None else self._held_s + seconds
            if self._held_s >= self._hold_s:
                return Outcome.REACHED
        else:
            self._held_s = None
        if state is State.STALLED:
            return Outcome.STALLED
        if self._timeout_s and self.elapsed_s >= self._timeout_s:
            return Outcome.TIMED_OUT
        return None
