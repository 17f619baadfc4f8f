"""Memory that neither grows nor is tidied up for long while the robot drives."""

from __future__ import annotations

import contextlib
import ctypes
import gc

M_ARENA_MAX = -8


def allocate_from_one_heap() -> None:
    """Let all threads share a heap (glibc); with one each, fragments add up over minutes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def freeze() -> None:
    """Spare all present objects from garbage collection.

    Looking through those of PyTorch and ROS takes a tenth of a second and more, and holds up every
    thread.
    """
    gc.collect()
    gc.freeze()
    # How rarely all is looked through depends on how much there was the last time: now little.
    gc.collect()


def unfreeze() -> None:
    """Collect garbage among all objects again."""
    gc.unfreeze()
