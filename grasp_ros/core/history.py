"""Which command is, was or will be in force at a time: the basis of latency compensation."""

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
    """The commands published last, and when."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=KEPT)

    def record(self, time_ns: int, action: NDArray[np.float64]) -> None:
        """Remember that `action` (R,) was published at `time_ns`."""
        self._entries.append((time_ns, action))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def last(self) -> NDArray[np.float64] | None:
        """The command (R,) published last, or None."""
        return self._entries[-1][1] if self._entries else None

    def in_force(self, time_ns: int) -> NDArray[np.float64] | None:
        """The command (R,) that was in force at `time_ns`, or None before the first."""
        for published_ns, action in reversed(tuple(self._entries)):
            if published_ns <= time_ns:
                return action
        return None


def commands_between(
    start_ns: int,
    count: int,
    period_ns: int,
    now_ns: int,
    history: CommandHistory,
    plan: TimedPlan | None,
    stop: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Commands in force in the middle of each of `count` periods from `start_ns` on.

    Until `now_ns` they come from the history, afterwards from the plan that is being executed;
    where neither knows, the robot is taken to stand.

    Returns:
        (count, R) in physical units.
    """
    commands = []
    for index in range(count):
        middle = start_ns + index * period_ns + period_ns // 2
        known = history.in_force(middle) if middle <= now_ns or plan is None else None
        if known is None and middle > now_ns and plan is not None:
            known = plan.in_force(middle)
        commands.append(stop if known is None else known)
    return np.stack(commands) if commands else np.empty((0, len(stop)))
