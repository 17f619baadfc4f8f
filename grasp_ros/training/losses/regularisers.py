"""What makes a latent predictable, spread out and plannable."""

from __future__ import annotations

import torch
from torch import Tensor


def variance_hinge(latents: Tensor) -> Tensor:
    """Keep every component's standard deviation at 1 or above (VICReg). latents: (N, D)."""
    deviation = torch.sqrt(latents.var(dim=0) + 1e-4)
    return torch.relu(1.0 - deviation).mean()


def covariance(latents: Tensor) -> Tensor:
    """Keep components uncorrelated (VICReg). latents: (N, D)."""
    centred = latents - latents.mean(dim=0)
    matrix = centred.T @ centred / (len(latents) - 1)
    off_diagonal = matrix - torch.diag(torch.diag(matrix))
    return off_diagonal.square().sum() / latents.shape[1]


def reach_separation(distance: Tensor, offset: float = 60.0) -> Tensor:
    """Push random pairs apart, up to about `offset` steps (quasimetric RL). distance: (N,)."""
    return torch.nn.functional.softplus(offset - distance, beta=0.1).mean()


def reach_violation(distance: Tensor, steps: Tensor) -> Tensor:
    """How far pairs `steps` apart in one episode exceed that time, squared. Both (N,)."""
    return torch.relu(distance / steps - 1.0).square().mean()
