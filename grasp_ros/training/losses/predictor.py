"""The predictor alone, on frozen latents: many more and longer windows than with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.losses.latents import EpisodeLatents

SPAN = 16
"""Model steps of a rollout, unless another number is asked for."""
BATCH = 256
START_NOISE = 0.5
"""Standard deviation of the noise on a rollout's start, in steps of motion: planners ask from
latents that are not quite those of a picture, and errors must not grow from there."""


@dataclass(frozen=True, eq=False)
class LatentMotion:
    """Recorded motion as the model sees it.

    Attributes:
        latents: of every frame of the dataset.
        dataset: what they are of.
        span: model steps of a window, T; fewer where no episode is as long.
    """

    latents: EpisodeLatents
    dataset: Dataset
    span: int = SPAN

    def windows(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random windows: latents (count, T + 1, D) and actions (count, T, A)."""
        span = min(self.span, int(self.latents.lengths.max()))
        episode, start = draw_windows(self.latents.lengths, span, count, rng)
        latents = self.latents.at(episode[:, None], start[:, None] + np.arange(span + 1))
        return latents, self.dataset.actions(episode, start, span).to(latents)


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
    state = state + (amount * noise).to(state)
    errors = []
    with torch.autocast(state.device.type, torch.bfloat16):
        for step in range(actions.shape[1]):
            inputs = torch.cat([state, actions[:, step]], dim=-1)
            state = state + model.predictor(inputs).float()
            errors.append((state - latents[:, step + 1]).square().mean())
    return {'total': torch.stack(errors).mean() / one_step, 'last': errors[-1] / one_step}
