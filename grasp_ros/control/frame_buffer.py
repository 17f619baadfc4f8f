"""The frames that the model's history needs, and what was found out about the newest."""

from __future__ import annotations

from collections import deque

from grasp_ros.control.image_checks import Verdict
from grasp_ros.control.observation import Frame
from grasp_ros.control.types import State

NANOSECONDS = 1_000_000_000


class FrameBuffer:
    """Frames since time began or jumped; its owner's lock guards it.

    Attributes:
        verdict: on the newest picture that was looked at.
        prediction_error: of what was imagined for it, in model steps of motion; NaN if unknown.
        bad: why the robot must not be driven by it; empty where it may.
    """

    def __init__(self, memory_ns: int) -> None:
        """Begin without frames; keep those at most `memory_ns` older than the newest."""
        self._memory_ns = memory_ns
        self._frames: deque[Frame] = deque()
        self._usable_stamp_ns: int | None = None
        self._decoded_stamp_ns: int | None = None
        self._decodable = True
        self._undecodable_reason = ''
        self._bad_stamp_ns = -1
        self._arrival_ns: int | None = None
        self.verdict = Verdict()
        self.prediction_error = float('nan')
        self.bad = ''

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest frame, or None."""
        return self._frames[-1].stamp_ns if self._frames else None

    def add(self, frame: Frame, arrival_ns: int | None) -> None:
        """Take a frame not older than those before, and when it arrived on a steady clock."""
        self._frames.append(frame)
        while self._frames[0].stamp_ns < frame.stamp_ns - self._memory_ns:
            self._frames.popleft()
        self._arrival_ns = arrival_ns
        if self._decodable:
            self._usable_stamp_ns = frame.stamp_ns

    def good(self) -> tuple[Frame, ...]:
        """Frames to plan from: those after the last bad one, in the order of their stamps."""
        return tuple(frame for frame in self._frames if frame.stamp_ns > self._bad_stamp_ns)

    def examined(self, stamp_ns: int, verdict: Verdict, prediction_error: float) -> None:
        """Take what was found out about the frame of that stamp."""
        self._decodable = True
        self._usable_stamp_ns = self._frames[-1].stamp_ns
        self._decoded_stamp_ns = stamp_ns
        self.verdict, self.bad = verdict, verdict.fault
        self.prediction_error = prediction_error
        if verdict.fault:
            self._bad_stamp_ns = stamp_ns

    def undecodable(self, reason: str) -> None:
        """No frame since the last decoded one counts until one can be decoded again."""
        self._decodable = False
        self._usable_stamp_ns = self._decoded_stamp_ns
        self._undecodable_reason = reason

    def age_s(self, now_ns: int) -> float:
        """Age of the newest usable frame by its stamp, seconds; NaN without one."""
        stamp = self._usable_stamp_ns
        return float('nan') if stamp is None else (now_ns - stamp) / NANOSECONDS

    def fault(
        self, now_ns: int, steady_ns: int | None, timeout_s: float
    ) -> tuple[State, str] | None:
        """Why the robot cannot be driven by these frames, if so.

        Args:
            now_ns: present time of the stamps' clock.
            steady_ns: present time of the arrivals' clock, or None to judge by stamps only.
            timeout_s: the newest usable frame may be so old, by stamp and by arrival.
        """
        age = self.age_s(now_ns)
        if steady_ns is not None and self._arrival_ns is not None:
            age = max(age, (steady_ns - self._arrival_ns) / NANOSECONDS)
        if not self._frames:
            return State.WAITING_IMAGE, 'no image received yet'
        if not self._decodable and not age <= timeout_s:
            return State.STALE_IMAGE, f'no usable image: {self._undecodable_reason}'
        if not age <= timeout_s:
            return (
                State.STALE_IMAGE,
                f'newest image is {age:.2f} s old, image_timeout is {timeout_s:.2f} s',
            )
        if self.bad:
            return State.BAD_IMAGE, self.bad
        return None
