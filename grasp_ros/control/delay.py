"""How long planning takes: a robust estimate of what latency compensation must reckon with."""

from __future__ import annotations

import math
from collections import deque

from grasp_ros.control.config import ControllerConfig

WINDOW = 50
QUANTILE = 0.9
WARM_UP = 1
MIN_PERIODS = 0.1


def delay_bounds(config: ControllerConfig, period_s: float) -> tuple[float, float, float]:
    """What a policy says of the delay: first value, lowest and highest estimate, seconds.

    Planning that takes longer than half the life of a plan leaves gaps whatever is assumed.
    """
    most = config.max_plan_age / 2
    return config.planning_delay, min(MIN_PERIODS * period_s, most), most


class DelayEstimator:
    """A high quantile of the delays measured last.

    A plan that is ready too late has lost its first commands, one that is ready too early only
    waits: so the quantile is high, but below the few solves that the operating system held up.
    """

    def __init__(self, initial_s: float, lowest_s: float, highest_s: float) -> None:
        """Begin with nothing measured; see `configure`."""
        self.configure(initial_s, lowest_s, highest_s)
        self.reset()

    def configure(self, initial_s: float, lowest_s: float, highest_s: float) -> None:
        """Change the bounds; what was measured stays.

        Args:
            initial_s: the value before anything was measured, seconds.
            lowest_s: no estimate is below, seconds.
            highest_s: no estimate is above, seconds.

        Raises:
            ValueError: unless 0 <= lowest_s <= highest_s.
        """
        if not 0 <= lowest_s <= highest_s:
            raise ValueError(f'bounds of a delay are {lowest_s} and {highest_s} s')
        self._initial_s = initial_s
        self._bounds = (lowest_s, highest_s)

    @property
    def value_s(self) -> float:
        """The delay to reckon with, seconds."""
        if self._measured_s is None:
            return self._initial_s
        low, high = self._bounds
        return min(max(self._measured_s, low), high)

    def reset(self) -> None:
        """Forget what was measured."""
        self._delays: deque[float] = deque(maxlen=WINDOW)
        self._left_out = 0
        self._measured_s: float | None = None

    def add(self, delay_s: float) -> None:
        """Take a measured delay in seconds, from the start of planning to a plan ready for use.

        The first one belongs to the warm-up. Negative and non-finite ones mean that the clock
        jumped; they are ignored.
        """
        if not (math.isfinite(delay_s) and delay_s >= 0):
            return
        if self._left_out < WARM_UP:
            self._left_out += 1
            return
        self._delays.append(delay_s)
        ordered = sorted(self._delays)
        rank = math.ceil(QUANTILE * len(ordered))
        self._measured_s = ordered[rank - 1]
