"""What a failed solve means for the next: try again, or not before the node is set up anew."""

from __future__ import annotations

import torch

MEMORY_TRIES = 5

_DEVICE_ERRORS: tuple[type[Exception], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, 'AcceleratorError') else ()  # PyTorch >= 2.8
)
_DEVICE_WORDS = ('cuda error', 'cublas', 'cudnn', 'cusolver', 'device-side assert', 'hip error')


class SolveFailures:
    """Counts failures of the device that planner and model run on.

    Attributes:
        final: why nothing is tried any more; empty while it is.
    """

    def __init__(self) -> None:
        """Begin without failures."""
        self.clear()

    def clear(self) -> None:
        """Try again, as on activation."""
        self.final = ''
        self._memory_failures = 0

    def succeeded(self) -> None:
        """A solve went well."""
        self._memory_failures = 0

    def failed(self, error: Exception) -> str:
        """Judge what planner or model raised; frees cached memory where it ran out.

        Returns:
            The reason to report.
        """
        reason = f'planner failed: {type(error).__name__}: {error}'
        if is_out_of_memory(error):
            self._memory_failures += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self._memory_failures >= MEMORY_TRIES:
                reason = self.final = (
                    f'out of memory {MEMORY_TRIES} times in a row, no more tries: {error}; '
                    'free memory, then deactivate and activate the node'
                )
        elif is_device_lost(error):
            reason = self.final = (
                f'the device failed, no more tries: {error}; clean up and configure the node, or '
                'start it again where that fails'
            )
        return reason


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of the device or of the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and 'out of memory' in str(error).lower()


def is_device_lost(error: Exception) -> bool:
    """Whether the accelerator reports an error that no other solve will be without."""
    if isinstance(error, _DEVICE_ERRORS):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _DEVICE_WORDS)
