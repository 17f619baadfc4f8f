"""Signals and children of a program that runs nodes in processes of their own."""

from __future__ import annotations

import signal
from types import FrameType

from grasp_ros.tools.demo.processes import Child


class Interrupted(Exception):  # noqa: N818 (not an error: somebody wants the run to end)
    """A signal asked the program to end."""


class Watch:
    """Ends any waiting at a signal or when a child has died, and passes on what a child logs."""

    def __init__(self) -> None:
        """Take over SIGINT and SIGTERM: only the first is remembered, none acts by itself."""
        self.signal: int | None = None
        self.children: list[Child] = []
        self.shown: Child | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def check(self) -> None:
        """Do nothing while all is well.

        Raises:
            Interrupted: after a signal.
            ChildDiedError: if a child has ended.
        """
        if self.signal is not None:
            raise Interrupted
        for line in self.shown.new_log_lines() if self.shown else ():
            print(f'  {line}', flush=True)
        for child in self.children:
            child.check()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
