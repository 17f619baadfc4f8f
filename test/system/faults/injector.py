"""Faults in the planner's process, asked for through two small files that both processes share."""

from __future__ import annotations

import time
from pathlib import Path

FAULT, HAPPENED = 'fault', 'happened'


class FaultInjector:
    """One fault at a time; `time.monotonic` is the same clock in every process of a machine."""

    def __init__(self, folder: Path) -> None:
        """Use a folder that both processes know; it must exist."""
        self._fault = folder / FAULT
        self._happened = folder / HAPPENED

    def inject(self, fault: str) -> None:
        """Ask for a fault from the next solve on."""
        self._happened.unlink(missing_ok=True)
        _write(self._fault, fault)

    def withdraw(self) -> None:
        """Ask for health again."""
        self._fault.unlink(missing_ok=True)

    def happened_s(self) -> float | None:
        """When the fault happened first, on the monotonic clock; None before."""
        return float(self._happened.read_text()) if self._happened.exists() else None

    def present(self) -> str:
        """What is asked for now; empty for nothing."""
        try:
            return self._fault.read_text()
        except FileNotFoundError:
            return ''

    def happens(self) -> None:
        """Tell the harness that the fault happens now, unless it has happened before."""
        if not self._happened.exists():
            _write(self._happened, repr(time.monotonic()))


def _write(path: Path, text: str) -> None:
    """Nobody may read half of it."""
    draft = path.with_suffix('.draft')
    draft.write_text(text)
    draft.replace(path)
