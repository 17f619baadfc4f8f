"""How punctual the control ticks are."""

from __future__ import annotations


class TickMonitor:
    """Compares ticks with a schedule whose phase is that of the earliest tick seen."""

    def __init__(self, period_ns: int) -> None:
        """Expect one tick each `period_ns` on a steady clock."""
        self._period_ns = period_ns
        self._anchor_ns: int | None = None
        self._previous = -1
        self.missed = 0

    def tick(self, steady_ns: int) -> float:
        """Count a tick at `steady_ns`.

        Returns:
            Its lateness in seconds; `missed` counts the ticks that came later than half a period
            or not at all.
        """
        if self._anchor_ns is None:
            self._anchor_ns, self._previous = steady_ns, 0
            return 0.0
        elapsed = steady_ns - self._anchor_ns
        number = (2 * elapsed + self._period_ns) // (2 * self._period_ns)
        late_ns = elapsed - number * self._period_ns
        if late_ns < 0 and number > self._previous:
            self._anchor_ns += late_ns
            late_ns = 0
        self.missed += max(0, number - self._previous - 1)
        self._previous = max(number, self._previous)
        return abs(late_ns) / 1e9
