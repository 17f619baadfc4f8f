"""How long each phase takes, from the camera image to the command."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


FLUSH_S = 1.0
MAX_PENDING = 10_000
MAX_BYTES = 256 * 2**20
END = b'\n]\n'
NAMES = {'MainThread': 'executor'}
FLOW = {'receive': 's', 'plan': 't', 'publish': 'f'}

Event = dict[str, Any]


class LatencyTrace:
    """Writes spans to a file, on a thread of its own; the file is complete JSON after each write.

    A `grasp_ros.node.phases.Sink`. Memory is bounded: spans that the disk does not take in time
    are dropped, and nothing is written beyond `MAX_BYTES`.
    """

    def __init__(
        self, path: Path, process: str, on_error: Callable[[str], None] = lambda text: None
    ) -> None:
        """Begin a trace; a file of that name is overwritten.

        Args:
            path: of the file.
            process: its name in the trace.
            on_error: told, on the writing thread, why nothing more is written.

        Raises:
            OSError: if the file cannot be written.
        """
        self._on_error = on_error
        self._events: queue.Queue[Event] = queue.Queue(MAX_PENDING)
        self._ending = threading.Event()
        self._pid = os.getpid()
        self._named: set[int] = set()
        self._finished_ns = 0
        self.dropped = 0
        self._file = path.open('wb')
        first = json.dumps(self._metadata('process_name', 0, process))
        self._file.write(b'[\n' + first.encode() + END)
        self._file.flush()
        self._thread = threading.Thread(target=self._run, name='trace', daemon=True)
        self._thread.start()

    def __call__(self, phase: str, image_ns: int, start_ns: int, end_ns: int) -> None:
        """Take a span; never blocks, never raises."""
        thread = threading.get_native_id()
        if thread not in self._named:
            self._named.add(thread)
            name = threading.current_thread().name
            self._put(self._metadata('thread_name', thread, NAMES.get(name, name)))
        span: Event = {
            'ph': 'X',
            'name': phase,
            'cat': 'image',
            'ts': start_ns / 1000,
            'dur': (end_ns - start_ns) / 1000,
            'pid': self._pid,
            'tid': thread,
        }
        if image_ns:
            span['args'] = {'image_stamp_ns': str(image_ns)}
        self._put(span)
        self._follow(phase, image_ns, span)

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is pending and close, within a time."""
        self._ending.set()
        self._thread.join(timeout_s)

    def _follow(self, phase: str, image_ns: int, span: Event) -> None:
        """Join a span to the others of its image; a plan's later commands are not joined."""
        kind = FLOW.get(phase)
        if not image_ns or kind is None or (kind == 'f' and image_ns == self._finished_ns):
            return
        if kind == 'f':
            self._finished_ns = image_ns
        where = {name: span[name] for name in ('ts', 'pid', 'tid')}
        flow = {'ph': kind, 'name': 'image', 'cat': 'image', 'id': hex(image_ns), **where}
        self._put(flow if kind == 's' else {**flow, 'bp': 'e'})

    def _put(self, event: Event) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def _metadata(self, kind: str, thread: int, name: str) -> Event:
        return {'ph': 'M', 'name': kind, 'pid': self._pid, 'tid': thread, 'args': {'name': name}}

    def _run(self) -> None:
        """Write once a second until told to end."""
        try:
            while not self._ending.wait(FLUSH_S):
                self._write()
            self._write()
            self._file.close()
        except OSError as error:
            self._on_error(f'the latency trace ends: {error}')

    def _write(self) -> None:
        """Write what is pending over the end of the array, and end it again."""
        position = self._file.seek(0, os.SEEK_END) - len(END)
        lines = []
        for _ in range(self._events.qsize()):
            lines.append(f',\n{json.dumps(self._events.get())}')
        if not lines or position > MAX_BYTES:
            return
        self._file.seek(position)
        self._file.write(''.join(lines).encode() + END)
        self._file.flush()
