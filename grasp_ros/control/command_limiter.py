"""Command limiter: the last gate before publishing, which remembers what passed.

Limits count control ticks: a command may differ from the one before by what they allow in one
control period, however late or early the tick is. Only ticks that come more often than a late one
could explain, more than one period ahead of time, may change a command by less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from grasp_ros.control.limits import (
    Array,
    Limits,
    Setpoint,
    apply_limits,
    decay,
    longest_stop,
    require_finite,
    stop_action,
)
from grasp_ros.control.timed_plan import CommandHistory
from grasp_ros.control.types import Clamp, ClampCounts
from grasp_ros.models.action_space import ActionKind, ActionSpace


class CommandLimiter:
    """Applies the limits to commands and stops, one after the other."""

    def __init__(
        self,
        space: ActionSpace,
        limits: Limits,
        period_ns: int,
        stop_decay: float,
        dry_run: bool,
        history: CommandHistory | None = None,
    ) -> None:
        """Begin with nothing published.

        Args:
            space: the commands' meaning.
            limits: of the commands.
            period_ns: between commands.
            stop_decay: seconds in which a stop decays to the stop action.
            dry_run: nothing is published, so nothing is remembered.
            history: takes what is published; None for one of its own.
        """
        self.history = CommandHistory() if history is None else history
        self._space = space
        self._limits = limits
        self._period_ns = period_ns
        self.reconfigure(stop_decay, dry_run)
        self.reset()

    def reconfigure(self, stop_decay: float, dry_run: bool) -> None:
        """Follow another config from the next command on."""
        self._stop_decay = stop_decay
        self._dry_run = dry_run

    def reset(self) -> None:
        """Forget what was published, as on activation: the robot is taken to stand."""
        self.history.clear()
        self.clamps = ClampCounts()
        self._rate = np.zeros(self._space.size)
        self.forget_time()

    def forget_time(self) -> None:
        """Let the next command come a whole period after the last: time has jumped."""
        self._last_ns: int | None = None
        self._saved_ns = self._period_ns
        self._stopping: tuple[int, Array] | None = None

    def command(self, action: Array, now_ns: int) -> tuple[Array, Clamp]:
        """Limit an action (R,) to what may be published, and tell which limits changed it.

        Raises:
            NonFiniteCommandError: if the action is not finite.
        """
        require_finite(action)
        setpoint, clamped = apply_limits(
            action, self._previous(), self._spend_s(now_ns), self._limits
        )
        self._stopping = None
        self._remember(setpoint, now_ns, clamped)
        return setpoint.value, clamped

    def stop(self, now_ns: int) -> tuple[Array | None, Clamp]:
        """Give the next command on the way to the stop action; None before any command.

        It decays in its time, or as fast as the limits allow where that takes longer.
        """
        last = self.history.last
        stop = stop_action(self._space, last)
        if stop is None or last is None:
            return None, Clamp.NONE
        if self._stopping is None:
            self._stopping = (now_ns, last)
        if self._space.kind is not ActionKind.POSITION:
            began_ns, source = self._stopping
            stop = decay(
                source, stop, (now_ns - began_ns + self._period_ns) / 1e9, self._stop_decay
            )
        return self._towards(stop, now_ns)

    def halt(self, now_ns: int) -> Iterator[Array]:
        """Give the stop when control ends: commands (R,), the first now, then one each period.

        They end with the stop action, as soon as the limits allow: at once without rate and
        acceleration limits. Nothing before any command.
        """
        most = math.ceil(longest_stop(self._space, self._limits, self._period_ns / 1e9) * 1e9)
        for number in range(most // self._period_ns + 2):
            last = self.history.last
            stop = stop_action(self._space, last)
            if stop is None:
                return
            value, _ = self._towards(stop, now_ns + number * self._period_ns)
            yield value
            at_stop = np.array_equal(value, np.clip(stop, self._limits.low, self._limits.high))
            if at_stop and not self._rate.any():
                return

    def _towards(self, stop: Array, now_ns: int) -> tuple[Array, Clamp]:
        setpoint, clamped = apply_limits(
            stop, self._previous(), self._spend_s(now_ns), self._limits, arrive=True
        )
        self._remember(setpoint, now_ns, clamped)
        return setpoint.value, clamped

    def _previous(self) -> Setpoint | None:
        """Setpoint that limits start from: a robot never commanded stands still, wherever it is."""
        last = self.history.last
        if last is not None:
            return Setpoint(last, self._rate)
        if self._space.kind is ActionKind.POSITION:
            return None
        return Setpoint.resting(np.zeros(self._space.size))

    def _spend_s(self, now_ns: int) -> float:
        """Seconds that this command may change in: a period, while time enough has passed."""
        period_ns = self._period_ns
        passed_ns = period_ns if self._last_ns is None else max(now_ns - self._last_ns, 0)
        saved_ns = min(self._saved_ns + passed_ns, 2 * period_ns)
        spent_ns = min(saved_ns, period_ns)
        self._saved_ns = saved_ns - spent_ns
        return spent_ns / 1e9

    def _remember(self, setpoint: Setpoint, now_ns: int, clamped: Clamp) -> None:
        self._last_ns = now_ns
        self.clamps = self.clamps.plus(clamped)
        if not self._dry_run:
            self._rate = setpoint.rate
            self.history.record(now_ns, setpoint.value)
