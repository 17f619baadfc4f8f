"""How long each phase takes, from the camera image to the command."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

WINDOW = 600


class Sink(Protocol):
    """Takes each span as it ends."""

    def __call__(self, phase: str, image_ns: int, start_ns: int, end_ns: int) -> None:
        """Take a span, its times on the recorder's clock, on the thread that it ran on."""
        ...


@dataclass(frozen=True)
class Latency:
    """Durations of one phase in seconds.

    Attributes:
        count: ended since the start, also before the window.
        median: of the window.
        p99: 99th percentile of the window.
        longest: of the window.
    """

    count: int
    median: float
    p99: float
    longest: float


class PhaseRecorder:
    """A `grasp_ros.control.timing.Timer` that keeps the newest durations of each phase."""

    def __init__(
        self, clock: Callable[[], int] = time.monotonic_ns, window: int = WINDOW
    ) -> None:
        """Time with `clock`, nanoseconds, and keep the last `window` durations of each phase."""
        self._clock = clock
        self._window = window
        self._lock = threading.Lock()
        self.sink: Sink | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all durations."""
        with self._lock:
            self._durations: dict[str, deque[int]] = {}
            self._counts: dict[str, int] = {}

    @contextmanager
    def __call__(self, phase: str, image_ns: int = 0) -> Iterator[None]:
        """See `grasp_ros.control.timing.Timer`; any name makes a phase."""
        start_ns = self._clock()
        try:
            yield
        finally:
            end_ns = self._clock()
            with self._lock:
                if phase not in self._durations:
                    self._durations[phase] = deque(maxlen=self._window)
                self._durations[phase].append(end_ns - start_ns)
                self._counts[phase] = self._counts.get(phase, 0) + 1
            if self.sink is not None:
                self.sink(phase, image_ns, start_ns, end_ns)

    def count(self, phase: str) -> int:
        """How often the phase ended since the start."""
        with self._lock:
            return self._counts.get(phase, 0)

    def summary(self) -> dict[str, Latency]:
        """Latencies of the phases seen so far."""
        with self._lock:
            copies = {phase: list(kept) for phase, kept in self._durations.items()}
            counts = dict(self._counts)
        return {
            phase: Latency(counts[phase], *(np.percentile(kept, (50, 99, 100)) / 1e9).tolist())
            for phase, kept in copies.items()
        }
