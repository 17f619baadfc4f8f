"""The one thread that loads, warms up and plans; CUDA graphs must live and die on one thread."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar('Result')
NAME = 'planning'


class PlanningThread:
    """Runs jobs one after another; a daemon, so that a hung solve cannot keep the process."""

    def __init__(self) -> None:
        """Start the thread."""
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = threading.Event()
        self._began_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Run `job` after those before it; its result or exception is in the future."""
        future: Future[Result] = Future()

        def work() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        self._jobs.put(work)
        return future

    def trigger(self, job: Callable[[], Any]) -> None:
        """Run `job` soon; a trigger while another waits to start is dropped."""
        if self._waiting.is_set():
            return
        self._waiting.set()

        def work() -> None:
            self._waiting.clear()
            job()

        self._jobs.put(work)

    @property
    def busy_s(self) -> float:
        """Seconds since the present job began; 0 without one."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def stop(self, timeout_s: float) -> bool:
        """End after the present job; returns whether it ended within `timeout_s` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._began_s = time.monotonic()
            job()
            self._began_s = None


def leave(status: int) -> int:
    """The exit status, or the end of the process where a planning thread still runs.

    The interpreter would tear it down in the middle of PyTorch, which aborts the process.
    """
    if any(thread.name == NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
