"""What is watched while the node is active, apart from ROS: clock, files, topic, deadline."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path


class Steadied:
    """A condition that changes only after it was seen some times in a row."""

    def __init__(self, rise: int, fall: int) -> None:
        """Become true after `rise` times true, false after `fall` times false."""
        self._needed = {True: rise, False: fall}
        self._seen = 0
        self.state = False

    def update(self, seen: bool) -> bool:
        """Take the next observation; returns whether the state has changed."""
        self._seen = self._seen + 1 if seen != self.state else 0
        if self._seen < self._needed[seen]:
            return False
        self.state, self._seen = seen, 0
        return True


class ClockWatch:
    """Goes on by a steady clock where a simulated one stands still."""

    def __init__(self, now_ns: int, steady_ns: int) -> None:
        """Begin to watch."""
        self._now_ns, self._since_ns = now_ns, steady_ns

    def stood(self, now_ns: int, steady_ns: int) -> int:
        """Nanoseconds for which the clock has been at `now_ns`, 0 where it has just moved."""
        if now_ns != self._now_ns:
            self._now_ns, self._since_ns = now_ns, steady_ns
        return steady_ns - self._since_ns


class FileWatch:
    """Notices files that are replaced, written to or gone."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Watch `paths` from now on."""
        self._known = {path: _fingerprint(path) for path in paths}

    def changed(self) -> list[Path]:
        """Those that changed since the last call."""
        now = {path: _fingerprint(path) for path in self._known}
        changed = [path for path, print_ in now.items() if print_ != self._known[path]]
        self._known = now
        return changed


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class LateSolves:
    """Counts solves that took longer than they may.

    Attributes:
        count: of all.
    """

    ALLOWANCE = 1.1
    WINDOW = 20

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self._recent: deque[bool] = deque(maxlen=self.WINDOW)
        self._many = False

    def add(self, seconds: float, deadline_s: float) -> bool:
        """Count a solve; returns whether half of the recent ones have come to be late.

        It says so once, and again only after nearly all were in time.

        Args:
            seconds: that it took.
            deadline_s: that it may take; 0 for no deadline.
        """
        late = deadline_s > 0 and seconds > self.ALLOWANCE * deadline_s
        self.count += late
        self._recent.append(late)
        share = sum(self._recent) / self.WINDOW
        before, self._many = self._many, share > (0.1 if self._many else 0.5)
        return self._many and not before


class KindWatch:
    """Notices pictures of another size or encoding."""

    def __init__(self) -> None:
        """Begin without pictures."""
        self._kind: str | None = None

    def change(self, kind: str) -> str:
        """What to say of a picture of this kind; empty for the first and for one as before."""
        before, self._kind = self._kind, kind
        if before in (None, kind):
            return ''
        return f'the camera changed from {before} to {kind}; its pictures are resized as before'
