"""How the core lets others time its phases without reading a clock itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Timer(Protocol):
    """Times what happens inside a `with` block."""

    def __call__(self, phase: str, image_ns: int = 0) -> AbstractContextManager[None]:
        """Time one phase.

        Args:
            phase: 'decode', 'preprocess', 'encode' or 'plan'.
            image_ns: stamp of the camera image that it is spent on; 0 for none.
        """
        ...


def untimed(phase: str, image_ns: int = 0) -> AbstractContextManager[None]:
    """A timer that times nothing."""
    return nullcontext()
