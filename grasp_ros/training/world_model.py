"""One optimiser step of the encoder and the predictor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from grasp_ros.core.world_model import rollout
from grasp_ros.models.compact import CompactModel
from grasp_ros.training.data import MotionDataset
from grasp_ros.training.losses import covariance, variance_hinge

TARGET_STEPS = np.array([1, 2, 4, 8, 16, 25])


@dataclass(frozen=True)
class WorldModelWeights:
    """Weights of the loss terms; the rollout has weight 1."""

    one_step: float = 1.0
    variance: float = 1.0
    covariance: float = 0.01
    smoothness: float = 0.2
    inverse_dynamics: float = 1.0


def world_model_loss(
    model: CompactModel,
    inverse: nn.Linear,
    dataset: MotionDataset,
    batch: int,
    weights: WorldModelWeights,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Loss terms on random windows of the data; 'total' is their weighted sum.

    A 25-step rollout from the first frame is compared with the encodings of sparse later frames;
    consecutive frames give the one-step, smoothness and inverse dynamics terms.
    """
    span = int(TARGET_STEPS[-1])
    episodes = rng.integers(0, dataset.episodes, batch)
    start = rng.integers(0, dataset.length - span + 1, batch)
    steps = start[:, None] + np.concatenate([[0], TARGET_STEPS])
    images = dataset.images(np.broadcast_to(episodes[:, None], steps.shape), steps)
    actions = dataset.actions(episodes, start, span)
    latents = model.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    first, second, third = latents[:, 0], latents[:, 1], latents[:, 2]
    imagined = rollout(model, first[:, None], actions[:, :0], actions)
    targets = latents[:, 1:]
    one_step = model.predict(second[:, None], actions[:, 1:2]) - third
    pairs = torch.cat(
        [torch.cat([first, second], dim=-1), torch.cat([second, third], dim=-1)], dim=0
    )
    taken = torch.cat([actions[:, 0], actions[:, 1]], dim=0)
    flat = latents.flatten(0, 1)
    terms = {
        'rollout': (imagined[:, TARGET_STEPS - 1] - targets).square().mean(),
        'one_step': one_step.square().mean(),
        'variance': variance_hinge(flat),
        'covariance': covariance(flat),
        'smoothness': (
            (second - first).square().mean() + (third - second).square().mean()
        ) / 2,
        'inverse_dynamics': (inverse(pairs) - taken).square().mean(),
    }
    total = terms['rollout']
    for name in ('one_step', 'variance', 'covariance', 'smoothness', 'inverse_dynamics'):
        total = total + getattr(weights, name) * terms[name]
    return {'total': total, **terms}
