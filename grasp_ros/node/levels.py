"""Levels of diagnostics that rise soon and fall late."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Hysteresis:
    """Raises ERROR at once and WARN after some judgements in a row; lowers after a time.

    Attributes:
        level: now.
        message: of what made it so.
    """

    def __init__(self, hold_s: float, warn_after: int = 1) -> None:
        """Begin with OK.

        Args:
            hold_s: how long all must have been better before the level is lowered, seconds.
            warn_after: judgements of WARN in a row that count.
        """
        self._hold_s = hold_s
        self._warn_after = warn_after
        self._in_a_row = 0
        self._seen_s = 0.0
        self.level = Level.OK
        self.message = ''

    def update(self, level: Level, message: str, now_s: float) -> tuple[Level, str]:
        """Take a judgement.

        Returns:
            The level to report and why; a level that is held says since when all is better.
        """
        self._in_a_row = self._in_a_row + 1 if level > Level.OK else 0
        if level is Level.WARN and self.level is Level.OK and self._in_a_row < self._warn_after:
            return self.level, self.message
        held_s = now_s - self._seen_s
        if level >= self.level or held_s >= self._hold_s:
            self.level, self.message, self._seen_s = level, message, now_s
            return level, message
        return self.level, f'{self.message} ({held_s:.0f} s ago)'
