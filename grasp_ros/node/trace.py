"""A latency trace: the phases of both threads as Chrome-trace JSON, for Perfetto.

The format is the JSON array of the Trace Event Format: complete events, and a flow that follows
each image from its arrival through planning to the first command made from it.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLUSH_S = 1.0
MOST_PENDING = 10_000
MOST_BYTES = 256 * 2**20
END = b'\n]\n'
NAMES = {'MainThread': 'executor'}
FLOW = {'receive': 's', 'plan': 't', 'publish': 'f'}

Event = dict[str, Any]


class LatencyTrace:
    """Writes spans to a file, on a thread of its own; the file is complete JSON after each write.

    A `grasp_ros.node.phases.Sink`. Memory is bounded: spans that the disk does not take in time
    are dropped, and nothing is written beyond `MOST_BYTES`.
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
        self._events: queue.Queue[Event] = queue.Queue(MOST_PENDING)
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
        if not lines or position > MOST_BYTES:
            return
        self._file.seek(position)
        self._file.write(''.join(lines).encode() + END)
        self._file.flush()
