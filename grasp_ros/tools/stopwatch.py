"""What a replay spends outside the solves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """A timer of the core that takes the solves out of laps; one thread only."""

    def __init__(self) -> None:
        """Start the first lap."""
        self._solving = [0.0, 0.0]
        self._began = self._now()

    @contextmanager
    def __call__(self, phase: str, image_ns: int = 0) -> Iterator[None]:
        """See `grasp_ros.control.timing.Timer`."""
        began = self._now()
        try:
            yield
        finally:
            if phase == 'plan':
                for index, (before, after) in enumerate(zip(began, self._now(), strict=True)):
                    self._solving[index] += after - before

    def lap(self) -> tuple[float, float]:
        """End a lap: its seconds outside the solves, by the wall clock and of this thread's CPU."""
        now = self._now()
        wall, cpu = (
            after - before - solving
            for after, before, solving in zip(now, self._began, self._solving, strict=True)
        )
        self._began, self._solving = now, [0.0, 0.0]
        return wall, cpu

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()
