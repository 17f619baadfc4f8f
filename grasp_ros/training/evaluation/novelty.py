"""Calibrate how unlike the training data a picture may be, on motion the model has not seen."""

from __future__ import annotations

import numpy as np
import torch

from grasp_ros.control.novelty import reconstruction_error
from grasp_ros.models.calibration import Calibration
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.evaluation.measure import SENSOR_NOISE
from grasp_ros.training.losses.latents import embed

QUANTILE = 0.999
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
        name: float(f'{float(torch.cat(values).quantile(QUANTILE)):.4g}')
        for name, values in (
            ('reconstruction_bound', errors),
            ('off_manifold_bound', distances),
        )
        if values
    }
    return calibration.model_copy(update=bounds)
