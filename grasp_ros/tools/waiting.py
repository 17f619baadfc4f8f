"""How a command waits in ROS: spinning in slices, so that Ctrl-C is noticed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from rclpy.executors import SingleThreadedExecutor

SLICE_S = 0.05
"""Longest wait in one go, in seconds: Ctrl-C is noticed after it."""


class Interruption:
    """SIGINT as a flag: an exception raised in the middle of rclpy may be swallowed there."""

    def __init__(self) -> None:
        """Take over the signal."""
        self._seen = False
        self._before = signal.signal(signal.SIGINT, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._seen = True

    def check(self) -> None:
        """Raise KeyboardInterrupt once the signal has come."""
        if self._seen:
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Wait for the next signal."""
        self._seen = False

    def release(self) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGINT, self._before)


def spin_until(
    executor: SingleThreadedExecutor,
    done: Callable[[], bool],
    timeout_s: float,
    interruption: Interruption,
) -> bool:
    """Spin until `done()`; False if that takes longer than `timeout_s` seconds.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        interruption.check()
        if time.monotonic() > deadline:
            return False
        executor.spin_once(timeout_sec=SLICE_S)
    return True
