"""How punctual the control ticks are."""

from __future__ import annotations


class TickMonitor:
    """Compares ticks with the schedule of the timer that makes them.

    Attributes:
        missed: ticks that came later than half a period, or not at all.
    """

    def __init__(self, period_ns: int, start_ns: int) -> None:
        """Expect one tick each `period_ns`, the first one a period after `start_ns`."""
        self._period_ns = period_ns
        self._start_ns = start_ns
        self._previous = 0
        self.missed = 0

    def tick(self, now_ns: int) -> float:
        """Count a tick at `now_ns`, on the clock of the schedule.

        Returns:
            Its lateness in seconds, less than a period: it belongs to the newest tick due.
        """
        number, late_ns = divmod(now_ns - self._start_ns, self._period_ns)
        if number < self._previous:  # time has jumped back: the schedule starts anew
            self._previous = number
        self.missed += max(0, number - self._previous - 1) + (2 * late_ns > self._period_ns)
        self._previous = number
        return late_ns / 1e9
