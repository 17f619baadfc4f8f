"""Limits of commands in physical units: finite, inside the box, neither too fast nor too sudden."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.types import Clamp
from grasp_ros.models.action_space import ActionKind, ActionSpace

Array = NDArray[np.float64]

SPARE_PERIODS = 6


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of commands; where they contradict each other, the first one named counts.

    Attributes:
        low: (R,) lower bounds in the action's units.
        high: (R,) upper bounds.
        rate: (R,) largest change per second; infinite for none.
        acceleration: (R,) largest change of that rate per second; infinite for none.
    """

    low: Array
    high: Array
    rate: Array
    acceleration: Array = field(default_factory=lambda: np.array(np.inf))

    @property
    def only_box(self) -> bool:
        """Return whether any command inside the box may follow any other."""
        return bool(np.isinf(self.rate).all() and np.isinf(self.acceleration).all())


@dataclass(frozen=True, eq=False)
class Setpoint:
    """A command, and how fast commands were changing when it was published.

    Attributes:
        value: (R,) in physical units.
        rate: (R,) per second; zero where there is no limit of acceleration.
    """

    value: Array
    rate: Array

    @classmethod
    def resting(cls, value: Array) -> Setpoint:
        """A command (R,) that was not changing."""
        return cls(value, np.zeros_like(value))


class NonFiniteCommandError(ValueError):
    """A command holds NaN or infinity."""


def require_finite(action: Array) -> None:
    """Refuse a command (R,) that holds NaN or infinity.

    Raises:
        NonFiniteCommandError: if it does.
    """
    if not np.isfinite(action).all():
        raise NonFiniteCommandError(f'command is not finite: {action.tolist()}')


def apply_limits(
    action: Array,
    previous: Setpoint | None,
    elapsed_s: float,
    limits: Limits,
    *,
    arrive: bool | NDArray[np.bool_] = False,
) -> tuple[Setpoint, Clamp]:
    """Bring a command inside the limits.

    With a limit of acceleration a command can only change its course with time: it keeps the
    distance from the box that it needs to come to rest, and a command that is out of reach is
    approached so that it can be kept. Both use v^2 / (2 a), the distance in which a rate v comes to
    rest; each step brakes before it moves, so it holds for steps of any length.

    Args:
        action: (R,) in physical units.
        previous: the command published before, or None.
        elapsed_s: time since then, in seconds.
        limits: to be respected.
        arrive: whether to approach the action so that it can be kept even where it is in reach, as
            a stop needs it; or (R,), for each component.

    Returns:
        The command, and which limits changed it.

    Raises:
        NonFiniteCommandError: if the action is not finite.
    """
    require_finite(action)
    boxed = np.clip(action, limits.low, limits.high)
    tolerance = _tolerance(limits)

    def clamped(before: Array, after: Array, kind: Clamp) -> Clamp:
        return kind if (np.abs(after - before) > tolerance).any() else Clamp.NONE

    found = clamped(action, boxed, Clamp.BOX)
    if previous is None or limits.only_box:
        return Setpoint.resting(boxed), found
    start = previous.value
    reach = _product(limits.rate, elapsed_s)
    slow = np.clip(boxed, start - reach, start + reach)
    found |= clamped(boxed, slow, Clamp.RATE)
    curbed = np.isfinite(limits.acceleration)
    if not curbed.any():
        return Setpoint.resting(np.clip(slow, limits.low, limits.high)), found
    smooth = _accelerated(boxed, slow, previous, elapsed_s, limits, arrive)
    found |= clamped(slow, smooth, Clamp.ACCELERATION)
    value = np.clip(smooth, limits.low, limits.high)
    # In no time nothing changes, the rate neither.
    rate = (value - start) / elapsed_s if elapsed_s > 0 else previous.rate
    return Setpoint(value, np.where(curbed, rate, 0.0)), found


def project(commands: Array, previous: Setpoint | None, period_s: float, limits: Limits) -> Array:
    """Apply the limits to a sequence of commands, the coming ones in view.

    Args:
        commands: (N, R), finite, one each `period_s`.
        previous: the command before them, or None.
        period_s: seconds between them.
        limits: to be respected.

    Returns:
        (N, R); projected again, they do not change.
    """
    # A command may be passed at full speed only where the one after it goes on like that.
    most_turn = _product(limits.acceleration, period_s) * period_s + _tolerance(limits)
    limited = []
    for index, command in enumerate(commands):
        following = commands[index + 1] if index + 1 < len(commands) else None
        arrive: bool | NDArray[np.bool_] = False
        if previous is not None and following is not None:
            turn = np.abs(following - 2 * command + previous.value)
            arrive = turn > most_turn
        previous, _ = apply_limits(command, previous, period_s, limits, arrive=arrive)
        limited.append(previous.value)
    return np.stack(limited) if limited else commands


def stop_action(space: ActionSpace, last: Array | None) -> Array | None:
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


def decay(last: Array, stop: Array, elapsed_s: float, duration_s: float) -> Array:
    """Interpolate from the last command to the stop action, linear in time.

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


def longest_stop(space: ActionSpace, limits: Limits, period_s: float) -> float:
    """An upper bound of the seconds from any command within the limits to the stop action.

    Args:
        space: says what an action commands.
        limits: of its commands.
        period_s: between commands.
    """
    width = limits.high - limits.low
    rate, acceleration = np.broadcast_arrays(limits.rate, limits.acceleration)
    # What may not change at all stays where it began: at the stop.
    moves = (rate > 0) & (acceleration > 0)
    rate, acceleration = np.where(moves, rate, np.inf), np.where(moves, acceleration, np.inf)
    curbed = np.isfinite(acceleration)
    acceleration = np.where(curbed, acceleration, 1.0)
    braking = np.where(
        curbed, np.minimum(rate, np.sqrt(2 * acceleration * width)) / acceleration, 0.0
    )
    if space.kind is ActionKind.POSITION:
        return float(np.max(braking)) + period_s
    far = np.maximum(np.abs(limits.low), np.abs(limits.high))
    ramp = np.where(
        curbed, np.minimum(rate / acceleration, np.sqrt(far / acceleration)), 0.0
    )
    # To rest inside the box, then from rest to rest across it.
    seconds = braking + ramp + np.maximum(far / rate, ramp)
    return float(np.max(seconds)) + (0 if limits.only_box else SPARE_PERIODS) * period_s


def _tolerance(limits: Limits) -> Array:
    """Differences (R,) that are rounding errors."""
    return 1e-9 + 1e-6 * (limits.high - limits.low)


def _product(limit: Array, seconds: float) -> Array:
    """A limit times a duration; no limit is none in no time, too."""
    product = np.full(limit.shape, np.inf)
    np.multiply(limit, seconds, out=product, where=np.isfinite(limit))
    return product


def _braked(distance: Array, gain: Array, acceleration: Array, elapsed_s: float) -> Array:
    """The longest step towards a wall at `distance` after which it can still come to rest."""
    speed = np.sqrt(gain * gain + 2 * acceleration * distance)
    longest = 2 * acceleration * distance * elapsed_s
    return np.divide(longest, gain + speed, out=np.zeros_like(distance), where=speed > 0)


def _accelerated(
    boxed: Array,
    slow: Array,
    previous: Setpoint,
    elapsed_s: float,
    limits: Limits,
    arrive: bool | NDArray[np.bool_],
) -> Array:
    """The command (R,) nearest to `boxed` that all limits allow; see `apply_limits`."""
    curbed = np.isfinite(limits.acceleration) & np.ones_like(boxed, dtype=bool)
    acceleration = np.where(curbed, limits.acceleration, 0.0)
    gain = acceleration * elapsed_s
    start = previous.value
    reach = _product(limits.rate, elapsed_s)
    # Changes that acceleration allows, then those that leave room to brake before the box ends.
    lowest = np.clip((previous.rate - gain) * elapsed_s, -reach, reach)
    highest = np.clip((previous.rate + gain) * elapsed_s, -reach, reach)
    width = limits.high - limits.low
    above, below = np.clip(limits.high - start, 0, width), np.clip(start - limits.low, 0, width)
    room_above = _braked(above, gain, acceleration, elapsed_s)
    room_below = _braked(below, gain, acceleration, elapsed_s)
    highest = np.maximum(np.minimum(highest, room_above), lowest)
    lowest = np.minimum(np.maximum(lowest, -room_below), highest)
    wanted = boxed - start
    distance = np.abs(wanted)
    near = distance <= gain * elapsed_s
    approach = np.sign(wanted) * np.where(
        near, distance, _braked(distance, gain, acceleration, elapsed_s)
    )
    possible = np.clip(wanted, lowest, highest)
    reachable = (np.abs(wanted - possible) <= _tolerance(limits)) & (np.logical_not(arrive) | near)
    change = np.where(reachable, possible, np.clip(approach, lowest, highest))
    smooth = np.where(change == wanted, boxed, start + change)
    return np.where(curbed, smooth, slow)
