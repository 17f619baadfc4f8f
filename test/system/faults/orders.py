"""Orders from the harness to the planner's process: two small files that both processes share."""

from __future__ import annotations

import time
from pathlib import Path

ORDER, OBEYED = 'order', 'obeyed'


class Orders:
    """One order at a time; `time.monotonic` is the same clock in every process of a machine."""

    def __init__(self, folder: Path) -> None:
        """Use a folder that both processes know; it must exist."""
        self._order = folder / ORDER
        self._obeyed = folder / OBEYED

    def give(self, order: str) -> None:
        """Ask for a fault from the next solve on."""
        self._obeyed.unlink(missing_ok=True)
        _write(self._order, order)

    def withdraw(self) -> None:
        """Ask for health again."""
        self._order.unlink(missing_ok=True)

    def obeyed_s(self) -> float | None:
        """When the order was obeyed first, on the monotonic clock; None before."""
        return float(self._obeyed.read_text()) if self._obeyed.exists() else None

    def present(self) -> str:
        """What is asked for now; empty for nothing."""
        try:
            return self._order.read_text()
        except FileNotFoundError:
            return ''

    def obey(self) -> None:
        """Tell the harness that the fault happens now, unless it has happened before."""
        if not self._obeyed.exists():
            _write(self._obeyed, repr(time.monotonic()))


def _write(path: Path, text: str) -> None:
    """Nobody may read half of it."""
    draft = path.with_suffix('.draft')
    draft.write_text(text)
    draft.replace(path)
