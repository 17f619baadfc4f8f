"""Data types that observation, planning and commands exchange; numpy only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Flag, IntEnum, auto
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NANOSECONDS = 1_000_000_000
"""In a second."""


class State(IntEnum):
    """State of the controller; the values are those of grasp_ros/msg/PlanStatus."""

    WAITING_IMAGE = 0
    WAITING_GOAL = 1
    PLANNING = 2
    RUNNING = 3
    REACHED = 4
    DISABLED = 5
    STALE_IMAGE = 6
    PLAN_EXPIRED = 7
    PLANNER_ERROR = 8
    BAD_PLAN = 9
    BAD_IMAGE = 10
    STALLED = 11
    CONFLICT = 12


class Clamp(Flag):
    """Limits that changed a command; false where none did."""

    NONE = 0
    BOX = auto()
    RATE = auto()
    ACCELERATION = auto()


@dataclass(frozen=True)
class ClampCounts:
    """Commands that a limit has changed.

    Attributes:
        total: for any reason.
        box: outside the box.
        rate: changing too fast.
        acceleration: changing their rate too fast.
    """

    total: int = 0
    box: int = 0
    rate: int = 0
    acceleration: int = 0

    def plus(self, clamp: Clamp) -> ClampCounts:
        """The counts with one more command."""
        return ClampCounts(
            self.total + bool(clamp),
            self.box + (Clamp.BOX in clamp),
            self.rate + (Clamp.RATE in clamp),
            self.acceleration + (Clamp.ACCELERATION in clamp),
        )


@dataclass(frozen=True, eq=False)
class Command:
    """Command of one control tick, with the state that it comes from.

    Attributes:
        action: physical units (R,), or None where nothing is to be sent.
        state: why.
        reason: for people; empty while RUNNING.
        clamped: which limits changed the action.
        observation_stamp_ns: of the image behind the action; 0 for a stop.
    """

    action: NDArray[np.float64] | None
    state: State
    reason: str
    clamped: Clamp = Clamp.NONE
    observation_stamp_ns: int = 0


class Timer(Protocol):
    """Times what happens inside a `with` block."""

    def __call__(self, phase: str, image_ns: int = 0) -> AbstractContextManager[None]:
        """Time one phase.

        Args:
            phase: 'decode', 'preprocess', 'encode' or 'plan'.
            image_ns: stamp of the camera image that it is spent on; 0 for none.
        """
        ...


def untimed(phase: str, image_ns: int = 0) -> AbstractContextManager[None]:
    """A timer that times nothing."""
    return nullcontext()
