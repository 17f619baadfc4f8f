"""Plans and published commands on one clock: the command in force at any time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 256


@dataclass(frozen=True, eq=False)
class TimedPlan:
    """A plan's commands on the clock of the images' stamps.

    Attributes:
        commands: physical units (N, R), one each `period_ns`.
        start_ns: when the first is due.
        period_ns: how long each is held.
        observation_stamp_ns: of the image that the plan was made from.
    """

    commands: NDArray[np.float64]
    start_ns: int
    period_ns: int
    observation_stamp_ns: int

    def index(self, now_ns: int) -> int:
        """Index of the command to publish at `now_ns`: the one held nearest to then."""
        return (2 * (now_ns - self.start_ns) + self.period_ns) // (2 * self.period_ns)

    def at(self, now_ns: int) -> NDArray[np.float64] | None:
        """The command (R,) to publish at `now_ns`, or None outside the plan."""
        index = self.index(now_ns)
        return self.commands[index] if 0 <= index < len(self.commands) else None

    def in_force(self, time_ns: int) -> NDArray[np.float64] | None:
        """The command (R,) that acts at `time_ns`, or None outside the plan."""
        index = (time_ns - self.start_ns) // self.period_ns
        return self.commands[index] if 0 <= index < len(self.commands) else None


class CommandHistory:
    """History of the commands published last, with their times."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=KEPT)

    def record(self, time_ns: int, action: NDArray[np.float64]) -> None:
        """Remember that `action` (R,) was published at `time_ns`; what came later never was."""
        while self._entries and self._entries[-1][0] > time_ns:
            self._entries.pop()
        self._entries.append((time_ns, action))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def last(self) -> NDArray[np.float64] | None:
        """The command (R,) published last, or None."""
        return self._entries[-1][1] if self._entries else None

    @property
    def last_ns(self) -> int:
        """Time of that command; 0 without one."""
        return self._entries[-1][0] if self._entries else 0

    def in_force(self, time_ns: int) -> NDArray[np.float64] | None:
        """The command (R,) that was in force at `time_ns`, or None before the first."""
        for published_ns, action in reversed(tuple(self._entries)):
            if published_ns <= time_ns:
                return action
        return None


def still_needed(plans: tuple[TimedPlan, ...], now_ns: int) -> tuple[TimedPlan, ...]:
    """Plans, newest first, that act at `now_ns` or later: up to the first one due."""
    due = (number for number, plan in enumerate(plans, 1) if plan.index(now_ns) >= 0)
    return plans[: next(due, len(plans))]


def published_until(now_ns: int, history: CommandHistory, period_ns: int) -> int:
    """End of the commands in the history: when the one published last ends."""
    return max(now_ns + 1, history.last_ns + period_ns)


def commands_between(
    start_ns: int,
    count: int,
    period_ns: int,
    now_ns: int,
    history: CommandHistory,
    plans: tuple[TimedPlan, ...],
    stop: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Commands in force in the middle of each of `count` periods from `start_ns` on.

    Until `now_ns`, and until the command published last ends, they come from the history; then
    from the newest of `plans`, newest first, that is due; where neither knows, the robot is taken
    to stand.

    Returns:
        (count, R) in physical units.
    """
    published_ns = published_until(now_ns, history, period_ns)
    commands = []
    for index in range(count):
        middle = start_ns + index * period_ns + period_ns // 2
        if middle < published_ns:
            known = history.in_force(middle)
        else:
            known = next((plan.in_force(middle) for plan in plans if plan.start_ns <= middle), None)
        commands.append(stop if known is None else known)
    return np.stack(commands) if commands else np.empty((0, len(stop)))
