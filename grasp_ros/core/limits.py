"""The last gate before publishing, in physical units: finite, inside the box, not too sudden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.core.types import ActionKind, ActionSpace


@dataclass(frozen=True, eq=False)
class Limits:
    """What a command must respect.

    Attributes:
        low: (R,) lower bounds in the action's units.
        high: (R,) upper bounds.
        rate: (R,) largest change per second; infinite for none.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rate: NDArray[np.float64]


class NonFiniteCommandError(ValueError):
    """A command holds NaN or infinity."""


def apply_limits(
    action: NDArray[np.float64],
    previous: NDArray[np.float64] | None,
    period_s: float,
    limits: Limits,
) -> tuple[NDArray[np.float64], bool]:
    """Bring a command inside the limits.

    Args:
        action: (R,) in physical units.
        previous: (R,) the command published before, or None.
        period_s: time since then, in seconds.
        limits: box and rate.

    Returns:
        The command (R,), and whether it was changed.

    Raises:
        NonFiniteCommandError: if the action is not finite.
    """
    if not np.isfinite(action).all():
        raise NonFiniteCommandError(f'command is not finite: {action.tolist()}')
    limited = np.clip(action, limits.low, limits.high)
    if previous is not None:
        # No rate limit is none in no time, too: infinity times zero would be NaN.
        step = np.full_like(limits.rate, np.inf)
        np.multiply(limits.rate, period_s, out=step, where=np.isfinite(limits.rate))
        limited = np.clip(limited, previous - step, previous + step)
        limited = np.clip(limited, limits.low, limits.high)
    tolerance = 1e-9 + 1e-6 * (limits.high - limits.low)
    return limited, bool((np.abs(limited - action) > tolerance).any())


def stop_action(
    space: ActionSpace, last: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """The command that stops the robot: zero, or the last target of a position command.

    Args:
        space: says what an action commands.
        last: (R,) last published command, or None before any.

    Returns:
        (R,) in physical units; None before anything was commanded: then nothing is sent.
    """
    if last is None:
        return None
    if space.kind is ActionKind.POSITION:
        return last
    return np.zeros(space.size)


def decay(
    last: NDArray[np.float64], stop: NDArray[np.float64], elapsed_s: float, duration_s: float
) -> NDArray[np.float64]:
    """On the way from the last command to the stop action, linear in time.

    Args:
        last: (R,) the command in force when the stop began.
        stop: (R,) the stop action.
        elapsed_s: seconds since then.
        duration_s: seconds after which it is exactly the stop action; 0 stops at once.
    """
    elapsed_s = max(elapsed_s, 0.0)
    if elapsed_s >= duration_s:
        return stop
    return last + (stop - last) * (elapsed_s / duration_s)
