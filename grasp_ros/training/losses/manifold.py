"""The manifold of latents: a denoiser that changes only what no picture is encoded to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.losses.latents import EpisodeLatents

LEAST_NOISE, MOST_NOISE = 0.05, 1.0
QUANTILE = 0.99
CALIBRATED = 20000


def denoiser_loss(
    model: CompactModel, latents: EpisodeLatents, batch: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Squared error of the noise that the denoiser takes away.

    Args:
        model: its denoiser is trained.
        latents: of recorded motion.
        batch: latents in an iteration.
        rng: draws them, and noise of log-uniform strength.
    """
    flat = latents.flat
    clean = flat[rng.integers(0, len(flat), batch)]
    strength = np.exp(rng.uniform(np.log(LEAST_NOISE), np.log(MOST_NOISE), (batch, 1)))
    noise = torch.from_numpy(strength * rng.standard_normal(clean.shape)).to(clean)
    weight = torch.from_numpy(strength**-1).to(clean)
    error = model.denoiser(clean + noise) + noise
    return {'total': (weight * error.square()).mean()}


@torch.no_grad()
def calibrate_manifold(
    model: CompactModel, latents: EpisodeLatents, rng: np.random.Generator
) -> None:
    """Set the bound to what one in a hundred latents of motion exceeds."""
    flat = latents.flat
    chosen = flat[rng.integers(0, len(flat), CALIBRATED)]
    model.manifold_bound.fill_(1.0)
    model.manifold_bound.copy_(torch.quantile(model.off_manifold(chosen), QUANTILE))
