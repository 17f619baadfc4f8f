"""The time-to-reach head, trained on the frozen latents of recorded motion.

Pairs k steps apart in one episode may be at most k steps apart (a constraint with a dual weight);
random pairs are pushed apart. What remains is the shortest time (quasimetric reinforcement
learning, Wang et al., ICML 2023).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.losses.latents import EpisodeLatents
from grasp_ros.training.losses.regularisers import reach_separation, reach_violation

LONGEST_SEPARATION = 30
VIOLATION_TOLERANCE = 0.02**2


def sample_pairs(
    latents: EpisodeLatents, batch: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of one episode with log-uniform separations.

    Args:
        latents: of E episodes.
        batch: number of pairs N.
        rng: draws them.

    Returns:
        Earlier and later latents (N, D), and the steps between them (N,).
    """
    apart, place = rng.random(batch), rng.random(batch)
    episode = _draw_episodes(latents.lengths, batch, rng)
    length = latents.lengths[episode]
    longest = np.minimum(LONGEST_SEPARATION, length)
    steps = np.exp(apart * np.log(longest + 1)).astype(np.int64)
    start = (place * (length + 1 - steps)).astype(np.int64)
    return (
        latents.at(episode, start),
        latents.at(episode, start + steps),
        torch.from_numpy(steps).to(latents.flat),
    )


def _draw_episodes(
    lengths: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Numbers of episodes (count,), the longer ones more often."""
    if (lengths == lengths[0]).all():
        return rng.integers(0, len(lengths), count)
    return np.searchsorted(lengths.cumsum(), rng.integers(0, lengths.sum(), count), side='right')


def reach_loss(
    model: CompactModel,
    log_weight: Tensor,
    latents: EpisodeLatents,
    batch: int,
    rng: np.random.Generator,
    layouts: int = 1,
    farthest: float = 60.0,
) -> dict[str, Tensor]:
    """Loss of the head.

    Args:
        model: its head is trained.
        log_weight: logarithm of the dual variable, ascended by the same optimiser.
        latents: of E episodes, each layout's in a row.
        batch: pairs of each kind.
        rng: draws them.
        layouts: random pairs are of one of so many equal parts of the episodes: between different
            worlds there is no way, and nothing to learn.
        farthest: random pairs are pushed apart up to about so many model steps.
    """
    early, late, steps = sample_pairs(latents, batch, rng)
    violation = reach_violation(model.time_to_reach(early, late), steps)
    if model.config.proprioception:
        # Goals are looked at otherwise than starts: that one is there must be learned.
        violation = violation + model.time_to_reach(early, early).square().mean()
    flat = latents.flat
    frames = len(flat) // layouts
    source = rng.integers(0, len(flat), batch)
    target = source // frames * frames + rng.integers(0, frames, batch)
    separation = reach_separation(model.time_to_reach(flat[source], flat[target]), farthest)
    weight = log_weight.exp()
    excess = violation - VIOLATION_TOLERANCE
    total = separation + weight.detach() * excess - weight * excess.detach()
    return {'total': total, 'separation': separation, 'violation': violation, 'weight': weight}
