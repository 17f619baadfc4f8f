"""How well the model's imagination holds: what it predicted for now against what is seen now."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

MOST_STEPS = 5
"""How far back predictions begin: long enough for errors to show, short enough for one cause."""


class Sight(Protocol):
    """What the model saw at one time."""

    @property
    def context(self) -> Tensor:
        """Latents (1, H, *Z), newest last."""
        ...

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Of the frames behind them."""
        ...


class PredictionCheck:
    """Rolls a former sight forward along the commands really published and compares.

    Attributes:
        error: of the newest comparison, in model steps of motion: the root-mean-square distance of
            latents, divided by that of one step; NaN while nothing can be compared.
    """

    def __init__(self, step_ns: int, one_step: float) -> None:
        """Compare sights up to `MOST_STEPS` model steps apart.

        Args:
            step_ns: of the model.
            one_step: mean squared latent distance of one step of motion; NaN where unknown.
        """
        self._step_ns = step_ns
        self._one_step = one_step
        self.clear()

    def clear(self) -> None:
        """Forget former sights."""
        self._former: deque[Sight] = deque()
        self.error = math.nan

    def update(self, now: Sight, roll: Callable[[Sight, int], Tensor]) -> float:
        """Compare with the oldest former sight a whole number of steps before `now`.

        Args:
            now: the newest sight; kept for later comparisons.
            roll: gives the latent (1, *Z) that the model predicts so many steps after a sight, or
                the first elements of its last axis, which are compared.

        Returns:
            The new `error`.
        """
        newest = now.stamps_ns[-1]
        if self._former and newest <= self._former[-1].stamps_ns[-1]:
            return self.error
        while self._former and self._steps(self._former[0], newest) > MOST_STEPS:
            self._former.popleft()
        sight = next((one for one in self._former if self._whole(one, newest)), None)
        self.error = math.nan
        if sight is not None:
            predicted = roll(sight, self._steps(sight, newest))
            seen = now.context[:, -1][..., : predicted.shape[-1]]
            squared = float((predicted - seen).square().mean())
            self.error = math.sqrt(squared / self._one_step)
        self._former.append(now)
        return self.error

    def _steps(self, sight: Sight, newest_ns: int) -> int:
        return round((newest_ns - sight.stamps_ns[-1]) / self._step_ns)

    def _whole(self, sight: Sight, newest_ns: int) -> bool:
        """Whether a whole number of steps lies between, to a quarter of one."""
        gap = newest_ns - sight.stamps_ns[-1]
        steps = self._steps(sight, newest_ns)
        return steps > 0 and 4 * abs(gap - steps * self._step_ns) <= self._step_ns
