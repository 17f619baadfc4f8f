"""The time-to-reach head, trained on the frozen latents of recorded motion.

Pairs k steps apart in one episode may be at most k steps apart (a constraint with a dual weight);
random pairs are pushed apart. What remains is the shortest time (quasimetric reinforcement
learning, Wang et al., ICML 2023).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grasp_ros.models.compact import CompactModel
from grasp_ros.training.losses import reach_separation, reach_violation

LONGEST_SEPARATION = 30
VIOLATION_TOLERANCE = 0.02**2


def sample_pairs(
    latents: Tensor, batch: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of one episode with log-uniform separations.

    Args:
        latents: (E, L + 1, D).
        batch: number of pairs N.
        rng: draws them.

    Returns:
        Earlier and later latents (N, D), and the steps between them (N,).
    """
    episodes, frames = latents.shape[:2]
    longest = min(LONGEST_SEPARATION, frames - 1)
    steps = np.exp(rng.uniform(0, np.log(longest + 1), batch)).astype(np.int64)
    start = (rng.random(batch) * (frames - steps)).astype(np.int64)
    episode = rng.integers(0, episodes, batch)
    return (
        latents[episode, start],
        latents[episode, start + steps],
        torch.from_numpy(steps).to(latents.dtype),
    )


def reach_loss(
    model: CompactModel,
    log_weight: Tensor,
    latents: Tensor,
    batch: int,
    rng: np.random.Generator,
    layouts: int = 1,
    farthest: float = 60.0,
) -> dict[str, Tensor]:
    """Loss of the head.

    Args:
        model: its head is trained.
        log_weight: logarithm of the dual variable, ascended by the same optimiser.
        latents: (E, L + 1, D), each layout's episodes in a row.
        batch: pairs of each kind.
        rng: draws them.
        layouts: random pairs are of one of so many equal parts of the episodes: between different
            worlds there is no way, and nothing to learn.
        farthest: random pairs are pushed apart up to about so many model steps.
    """
    early, late, steps = sample_pairs(latents, batch, rng)
    violation = reach_violation(model.time_to_reach(early, late), steps)
    flat = latents.flatten(0, 1)
    frames = len(flat) // layouts
    source = rng.integers(0, len(flat), batch)
    target = source // frames * frames + rng.integers(0, frames, batch)
    separation = reach_separation(model.time_to_reach(flat[source], flat[target]), farthest)
    weight = log_weight.exp()
    excess = violation - VIOLATION_TOLERANCE
    total = separation + weight.detach() * excess - weight * excess.detach()
    return {'total': total, 'separation': separation, 'violation': violation, 'weight': weight}
