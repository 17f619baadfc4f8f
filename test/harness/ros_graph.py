"""ROS in tests: a private domain, spinning until something is true, nodes in processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402


def _reserve_domain() -> tuple[int, socket.socket]:
    """Reserve a ROS domain for this process: no other test process takes it at the same time.

    Domains 215 to 231 are safe on Linux and hardly ever used: a demo or a robot on this machine
    lives in 0 to 101. DDS uses UDP; the TCP port of the same number serves as the lock.
    """
    for domain in range(215, 232):
        base = 7400 + 250 * domain
        with contextlib.suppress(OSError):
            # The first participant's port (RTPS 2.5, 9.6.2): a node that some test left behind.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
                participant.bind(('', base + 10))
            return domain, socket.create_server(('127.0.0.1', base))
    raise RuntimeError('every ROS domain from 215 to 231 is in use by other tests')


DOMAIN, _LOCK = _reserve_domain()
os.environ['ROS_DOMAIN_ID'] = str(DOMAIN)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@dataclass(frozen=True)
class Ros:
    """A ROS context of the test's own, with an executor."""

    context: Any
    executor: Any

    def node(self, name: str = 'test', **options: Any) -> Node:
        """Return a node that `spin_until` spins; `options` go to rclpy's Node."""
        node = Node(name, context=self.context, **options)
        self.executor.add_node(node)
        return node

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float = 20.0) -> bool:
        """Spin until `predicate()` is true; return whether it became so in time."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            if time.monotonic() > deadline:
                return False
            self.executor.spin_once(timeout_sec=0.05)
        return True

    def spin_for(self, seconds: float) -> None:
        """Spin for a time."""
        self.spin_until(lambda: False, seconds)


@contextlib.contextmanager
def ros() -> Iterator[Ros]:
    """Initialise ROS for one test; everything ends with the block."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor(context=context)
    try:
        yield Ros(context, executor)
    finally:
        for node in executor.get_nodes():
            node.destroy_node()
        executor.shutdown(timeout_sec=1.0)
        rclpy.shutdown(context=context)


@dataclass(frozen=True)
class Process:
    """A Python module that runs as a process of its own."""

    popen: subprocess.Popen
    log: Path

    @property
    def output(self) -> str:
        """What it has written so far to standard output and standard error."""
        return self.log.read_text()

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait until it ends by itself; return its exit status.

        Raises:
            subprocess.TimeoutExpired: if it does not.
        """
        return self.popen.wait(timeout_s)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send it a signal, SIGKILL after the timeout; return its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator[Process]:
    """Run `python -m module arguments` in the test's domain; it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / 'output'
        with log.open('w') as file:
            popen = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0'},
            )
        child = Process(popen, log)
        try:
            yield child
        finally:
            child.end()
