"""Child processes that write to log files and never outlive the process that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
TERM_PATIENCE_S = 2.0

NODE_MODULES = {'planner': 'grasp_ros.node.planner', 'sim_robot': 'grasp_ros.tools.sim_robot'}
"""Modules that are started for nodes of these names."""


class ChildDiedError(RuntimeError):
    """A child ended by itself; the message carries its last log lines."""


class Child:
    """One Python module run as a process of its own.

    It has a session of its own, so that Ctrl-C in the terminal reaches the parent only, which then
    decides the order in which its children end. Should the parent be killed, the child gets
    SIGTERM from the kernel (Linux).
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path) -> None:
        """Start `python -m module arguments...`.

        Call it from the main thread: the kernel's signal comes when the starting *thread* ends.

        Args:
            name: for people.
            module: as 'grasp_ros.node.planner'.
            arguments: of its command line.
            log: file that its standard output and error go to; an old one is overwritten.
        """
        self.name = name
        self.log = log
        self._reported = 0
        environment = {**os.environ, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0'}
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self._process.send_signal(number)

    def check(self) -> None:
        """Do nothing while the child runs.

        Raises:
            ChildDiedError: if it has ended.
        """
        status = self.status
        if status is not None:
            how = f'by {signal.Signals(-status).name}' if status < 0 else f'with status {status}'
            raise ChildDiedError(f'{self.name} ended {how}.\n{self.log_tail()}')

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, indented, under a heading that names the file."""
        tail = self.log.read_text(errors='replace').splitlines()[-lines:]
        return '\n'.join([f'Last lines of {self.log}:', *(f'  {line}' for line in tail)])

    def new_log_lines(self) -> list[str]:
        """Whole lines logged since the last call."""
        lines = self.log.read_text(errors='replace').split('\n')[:-1]
        new = lines[self._reported :]
        self._reported = len(lines)
        return new

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it: SIGINT, after `timeout_s` SIGTERM, 2 s later SIGKILL to its session."""
        for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGTERM, TERM_PATIENCE_S)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def die_with_parent() -> Callable[[], None] | None:
    """Function for a child to run first, so that it ends when its parent is killed."""
    if not sys.platform.startswith('linux'):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_death_signal


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

    @contextlib.contextmanager
    def child(
        self, name: str, module: str, arguments: Sequence[str], log: Path, patience_s: float = 5.0
    ) -> Iterator[Child]:
        """Start a process that must not end before the block, and end it then.

        Args:
            name: see `Child`; also `module`, `arguments` and `log`.
            module: see there.
            arguments: see there.
            log: see there.
            patience_s: see `Child.stop`.
        """
        child = Child(name, module, arguments, log)
        self.children.append(child)
        try:
            yield child
        finally:
            self.children.remove(child)
            child.stop(patience_s)

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
