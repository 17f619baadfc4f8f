"""The manifold of latents: a denoiser that changes only what no picture is encoded to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grasp_ros.control.image_checks import reconstruction_error
from grasp_ros.models.calibration import Calibration
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.evaluation.measure import SENSOR_NOISE
from grasp_ros.training.losses.latents import EpisodeLatents, embed

MIN_NOISE, MAX_NOISE = 0.05, 1.0
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
    strength = np.exp(rng.uniform(np.log(MIN_NOISE), np.log(MAX_NOISE), (batch, 1)))
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


NOVELTY_QUANTILE = 0.999
PICTURES = 10000
CHUNK = 500


@torch.no_grad()
def with_novelty(
    calibration: Calibration,
    model: CompactModel,
    held_out: Dataset,
    rng: np.random.Generator,
) -> Calibration:
    """Add the bounds that 1 of 1000 familiar pictures exceeds, with a camera's noise.

    Args:
        calibration: to add them to.
        model: with a trained decoder; the manifold's bound is left out without a denoiser.
        held_out: motion that the model was not trained on.
        rng: chooses the pictures.
    """
    errors, distances = [], []
    for _ in range(PICTURES // CHUNK):
        episodes, steps = draw_windows(held_out.lengths, 0, CHUNK, rng)
        images = held_out.images(episodes, steps)
        noise = rng.normal(0.0, SENSOR_NOISE, images.shape).astype(np.float32)
        images = (images + torch.from_numpy(noise)).clamp(0, 1).to(model.device)
        latents = embed(model, held_out, episodes, steps, images)
        errors.append(reconstruction_error(model, latents, images))
        if model.knows_manifold:
            distances.append(model.off_manifold(latents))
    bounds = {
        name: float(f'{float(torch.cat(values).quantile(NOVELTY_QUANTILE)):.4g}')
        for name, values in (
            ('reconstruction_bound', errors),
            ('off_manifold_bound', distances),
        )
        if values
    }
    return calibration.model_copy(update=bounds)
