"""Run all tests: those that start nodes in front, the others at idle priority beside them.

Nodes mostly wait, and must keep time while they do: what runs at idle priority fills the gaps and
takes nothing from them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTHING_SELECTED = 5
"""Exit status of pytest that is no failure."""

QUICK = ('-m', 'not ros', '-n', 'auto', '--maxprocesses', '4', '--dist', 'loadfile')
ROS = ('-m', 'ros')


def idle() -> None:
    """Give this process and its children what is left of the processor."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # not on Linux, or not allowed
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: list[str]) -> int:
    """Run pytest twice side by side; return 0 if nothing failed."""
    pytest = [sys.executable, '-m', 'pytest', '--timeout', '300']
    with tempfile.TemporaryFile('w+') as log:
        print('Tests without nodes run beside those with nodes and are shown last.', flush=True)
        quick = subprocess.Popen(
            [*pytest, *QUICK, *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            preexec_fn=idle,
        )
        try:
            statuses = [subprocess.run([*pytest, *ROS, *arguments], cwd=ROOT).returncode]
            statuses.append(quick.wait())
        except KeyboardInterrupt:
            statuses = [130]
        finally:
            quick.terminate()
            quick.wait()
            log.seek(0)
            sys.stdout.write(log.read())
    failed = [status for status in statuses if status not in (0, NOTHING_SELECTED)]
    return failed[0] if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
