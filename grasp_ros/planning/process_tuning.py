"""Memory of this process: glibc's allocator (elsewhere nothing happens), garbage collection."""

from __future__ import annotations

import contextlib
import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES = 512 * 2**20
MAX_MMAP_THRESHOLD = 32 * 2**20


def allocate_from_one_heap() -> None:
    """Let all threads share a heap; with one each, fragments add up over minutes."""
    _set(M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep up to 512 MiB of freed memory for the next iteration.

    By default it may go back to the system and be cleared page by page each time: in some
    processes a fifth of a lifted iteration with 32 candidates.
    """
    _set(M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD)
    _set(M_TRIM_THRESHOLD, KEPT_BYTES)


def _set(parameter: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(parameter, value)


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
