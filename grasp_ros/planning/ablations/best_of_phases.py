"""Whether a solve still gets better."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.planning.candidates import Candidates, join


class Progress:
    """The best candidates of a solve so far, and whether syncs still find better ones."""

    def __init__(self, cost: Tensor, patience: int, least_gain: float) -> None:
        """Watch a solve.

        Args:
            cost: of the seeds (B, C).
            patience: syncs in a row without a gain that end the solve; 0 for any number.
            least_gain: share by which the best cost of some problem must fall.
        """
        self._lowest = torch.nan_to_num(cost, nan=float('inf')).amin(dim=1)
        self._patience = patience
        self._least_gain = least_gain
        self._idle = 0
        self._best: Candidates | None = None

    def ended(self, now: Candidates) -> bool:
        """Take the candidates after a sync; whether to stop."""
        best = now.best(1)
        self._best = best if self._best is None else join(self._best, best).best(1)
        gained = best.cost[:, 0] < self._lowest - self._least_gain * self._lowest.abs()
        self._lowest = torch.fmin(self._lowest, best.cost[:, 0])
        self._idle = 0 if bool(gained.any()) else self._idle + 1
        return 0 < self._patience <= self._idle

    def with_best(self, last: Candidates) -> Candidates:
        """The last candidates, and the best of those before."""
        return last if self._best is None else join(last, self._best)
