"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path('/proc/self/status')
CLEAR = Path('/proc/self/clear_refs')
RESET_PEAK = '5'
"""What clears the peak of resident memory, by proc(5)."""


def reset_peak() -> None:
    """Measure from now on, where the system can (Linux); elsewhere from the process's start."""
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return


def peak_mb() -> float:
    """Most resident memory since `reset_peak`, in MB (2^20 bytes)."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in kB elsewhere.
    return round(peak / (2**20 if sys.platform == 'darwin' else 1024), 1)
