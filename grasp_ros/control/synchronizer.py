"""Synchronization of sensors: images and values taken at nearly one time are one observation."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.observation import ImageSource, StampedObservation
from grasp_ros.control.types import NANOSECONDS, State
from grasp_ros.models.sensors import PROPRIOCEPTION, SensorSpec

STAMP_TOLERANCE_NS = NANOSECONDS // 10
MAX_IMAGES, MAX_VALUES = 10, 1000
"""Data of each sensor that wait for the others, so that a dead one costs no memory."""

Data = ImageSource | NDArray[np.float64]


class SensorDataError(ValueError):
    """Sensor data that cannot be used; the message says why."""


class ApproximateTimeSynchronizer:
    """Puts the newest image of the first camera together with the data nearest to it in time.

    A set is an observation where all its stamps lie within the tolerance; each image of the
    first camera is in one set at most.

    Attributes:
        tolerance_s: largest difference of two stamps in a set, seconds.
        complete: sets so far.
    """

    def __init__(self, inputs: SensorSpec, tolerance_s: float) -> None:
        """Begin with nothing received.

        Args:
            inputs: what makes a set.
            tolerance_s: largest difference of two stamps in a set, seconds.
        """
        self._inputs = inputs
        self.tolerance_s = tolerance_s
        self.complete = 0
        self.clear()

    def clear(self) -> None:
        """Forget all that waits."""
        self._waiting: dict[str, deque[tuple[int, Data]]] = {
            name: deque(maxlen=MAX_IMAGES if name in self._inputs.cameras else MAX_VALUES)
            for name in self._inputs.names
        }
        self._newest_ns: dict[str, int] = {}

    def add(
        self, name: str, data: Data, stamp_ns: int, now_ns: int | None = None
    ) -> StampedObservation | None:
        """Take the data of one sensor.

        Args:
            name: of the sensor, one of the inputs'.
            data: (h, w, 3) uint8 RGB or a function that decodes it; (Q,) values in physical units.
            stamp_ns: when it was acquired.
            now_ns: present time of the same clock; None trusts the stamp.

        Returns:
            The observation that is complete now, stamped as its first camera, or None.

        Raises:
            SensorDataError: if the stamp is ahead of now, or values are too many, too few or not
                finite.
        """
        if now_ns is not None and stamp_ns > now_ns + STAMP_TOLERANCE_NS:
            what = 'image' if name in self._inputs.cameras else name
            ahead = (stamp_ns - now_ns) / NANOSECONDS
            raise SensorDataError(f'{what} stamp is {ahead:.3f} s ahead of now; check the clocks')
        if name == PROPRIOCEPTION:
            self._check(data)
        first = self._inputs.cameras[0]
        if len(self._waiting) == 1:
            return self._frame({first: data}, stamp_ns)
        queue = self._waiting[name]
        if queue and stamp_ns < queue[-1][0]:
            queue.clear()  # time jumped back: nothing before belongs to what comes now
        queue.append((stamp_ns, data))
        self._newest_ns[name] = stamp_ns
        images = self._waiting[first]
        for position in reversed(range(len(images))):
            reference_ns = images[position][0]
            chosen = self._around(reference_ns)
            if chosen is not None:
                for _ in range(position + 1):
                    images.popleft()
                return self._frame(chosen, reference_ns)
        return None

    def explained(self, state: State, reason: str) -> tuple[State, str]:
        """Add to a reason to stop which sensor is missing, where observations are."""
        unseen = state in (State.WAITING_IMAGE, State.STALE_IMAGE)
        missing = self.missing() if unseen else ''
        return state, f'{reason}: {missing}' if missing else reason

    def missing(self) -> str:
        """Name the sensors that keep observations from being complete; empty if none does."""
        if len(self._waiting) == 1:
            return ''
        silent = [name for name in self._inputs.names if name not in self._newest_ns]
        if silent:
            return f'nothing received of {", ".join(silent)}'
        newest_ns = max(self._newest_ns.values())
        behind = {
            name: (newest_ns - stamp_ns) / NANOSECONDS
            for name, stamp_ns in self._newest_ns.items()
        }
        # Between two arrivals a living sensor may be a period behind, too: a dead one is more so.
        least = max(self.tolerance_s, max(behind.values()) / 2)
        late = [f'{name} is {lag:.2f} s behind' for name, lag in behind.items() if lag > least]
        return f'{", ".join(late)}; sync_tolerance is {self.tolerance_s:.3f} s' if late else ''

    def _around(self, reference_ns: int) -> dict[str, Data] | None:
        """Data of each sensor nearest to a time; None where they are too far apart."""
        stamps, chosen = [], {}
        for name, queue in self._waiting.items():
            if not queue:
                return None
            stamp_ns, data = min(queue, key=lambda item: abs(item[0] - reference_ns))
            stamps.append(stamp_ns)
            chosen[name] = data
        apart_ns = max(stamps) - min(stamps)
        return chosen if apart_ns <= self.tolerance_s * NANOSECONDS else None

    def _frame(self, chosen: dict[str, Data], stamp_ns: int) -> StampedObservation:
        images = tuple(chosen[name] for name in self._inputs.cameras)
        values = chosen.get(PROPRIOCEPTION)
        assert values is None or isinstance(values, np.ndarray)
        self.complete += 1
        source = images[0] if len(images) == 1 else images
        return StampedObservation(source, stamp_ns, values)  # type: ignore[arg-type]

    def _check(self, values: Data) -> None:
        space = self._inputs.proprioception
        assert space is not None
        assert isinstance(values, np.ndarray)
        if values.shape != (space.size,):
            raise SensorDataError(
                f'{values.size} values of proprioception; the model wants {space.size}: '
                f'{", ".join(space.names)}'
            )
        bad = [name for name, value in zip(space.names, values, strict=True)
               if not np.isfinite(value)]
        if bad:
            raise SensorDataError(f'proprioception is not finite: {", ".join(bad)}')
