"""The predictor alone, on frozen latents: many more and longer windows than with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.compact import CompactModel

SPAN = 16
"""Model steps of a rollout."""
BATCH = 256
START_NOISE = 0.5
"""Standard deviation of the noise on a rollout's start, in steps of motion: planners ask from
latents that are not quite those of a picture, and errors must not grow from there."""


@dataclass(frozen=True, eq=False)
class LatentMotion:
    """Recorded motion as the model sees it.

    Attributes:
        latents: (E, L + 1, D).
        actions: normalised (E, L, A).
    """

    latents: Tensor
    actions: Tensor

    def windows(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random windows: latents (count, SPAN + 1, D) and actions (count, SPAN, A)."""
        episode = rng.integers(0, len(self.latents), count)[:, None]
        start = rng.integers(0, self.actions.shape[1] - SPAN + 1, count)
        steps = start[:, None] + np.arange(SPAN + 1)
        return self.latents[episode, steps], self.actions[episode, steps[:, :-1]]


def predictor_loss(
    model: CompactModel,
    sources: Sequence[LatentMotion],
    one_step: float,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Squared error of rollouts in units of one step of motion.

    Args:
        model: its predictor is trained.
        sources: each gives as many windows.
        one_step: mean squared latent difference of one step of motion.
        rng: draws windows and noise.
    """
    parts = [source.windows(BATCH // len(sources), rng) for source in sources]
    latents = torch.cat([part[0] for part in parts])
    actions = torch.cat([part[1] for part in parts])
    state = latents[:, 0]
    amount = START_NOISE * one_step**0.5 * torch.from_numpy(rng.random((len(state), 1)))
    noise = torch.from_numpy(rng.standard_normal(tuple(state.shape)))
    state = state + (amount * noise).to(state.dtype)
    errors = []
    with torch.autocast('cpu', torch.bfloat16):
        for step in range(SPAN):
            inputs = torch.cat([state, actions[:, step]], dim=-1)
            state = state + model.predictor(inputs).float()
            errors.append((state - latents[:, step + 1]).square().mean())
    return {'total': torch.stack(errors).mean() / one_step, 'last': errors[-1] / one_step}
