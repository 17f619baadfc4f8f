"""How good a model is, by held-out recorded data alone: nobody need know where the robot was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.protocol import rollout
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.losses.latents import EpisodeLatents

FARTHEST = 50
WINDOWS = 500
LEAST_WINDOWS = 20
PAIRS = 2000
COLLAPSED_STD = 0.1
LEAST_RANK = 2.0


@dataclass(frozen=True)
class Evaluation:
    """Measured quality of a world model.

    Attributes:
        horizon: model steps at which the next two are given: 1, 2, ..
        open_loop: root-mean-square error of imagined latents over the standard deviation of all
            latents.
        no_change: the same where nothing is imagined to change.
        latent_std: median standard deviation of a latent's components.
        effective_rank: how many directions the latents spread in: the exponential of the entropy
            of the normalised eigenvalues of their covariance (Roy & Vetterli, EUSIPCO 2007).
        reach_rank_correlation: Spearman's, of the time-to-reach head with the steps between two
            frames of an episode, an upper bound of the time to reach.
    """

    horizon: list[int]
    open_loop: list[float]
    no_change: list[float]
    latent_std: float
    effective_rank: float
    reach_rank_correlation: float

    def failures(self) -> list[str]:
        """What makes the model useless, in words."""
        faults = []
        if not self.latent_std >= COLLAPSED_STD:
            faults.append(
                f'the latents have collapsed: latent_std is {self.latent_std:.3f}, at least '
                f'{COLLAPSED_STD} asked'
            )
        if not self.effective_rank >= LEAST_RANK:
            faults.append(
                f'the latents have collapsed: effective_rank is {self.effective_rank:.1f}, at '
                f'least {LEAST_RANK} asked'
            )
        middle = len(self.horizon) // 2
        if not self.open_loop[middle] < self.no_change[middle]:
            faults.append(
                f'after {self.horizon[middle]} imagined steps the error is '
                f'{self.open_loop[middle]:.3f}, no better than to imagine no change '
                f'({self.no_change[middle]:.3f})'
            )
        return faults


@torch.no_grad()
def evaluate(
    model: CompactModel, latents: EpisodeLatents, dataset: Dataset, rng: np.random.Generator
) -> Evaluation:
    """Measure a model.

    Args:
        model: trained.
        latents: of every frame of `dataset`.
        dataset: held-out motion.
        rng: draws windows and pairs.
    """
    span = longest_span(latents.lengths)
    episodes, start = draw_windows(latents.lengths, span, WINDOWS, rng)
    first = latents.at(episodes, start)
    later = latents.at(episodes[:, None], start[:, None] + np.arange(1, span + 1))
    actions = dataset.actions(episodes, start, span).to(first)
    imagined = rollout(model, first[:, None], actions[:, :0], actions)
    deviation = latents.flat.std(dim=0).square().mean().sqrt()

    def error(states: Tensor) -> list[float]:
        squared = (states - later).square().mean(dim=(0, 2))
        return [round(float(value), 5) for value in squared.sqrt() / deviation]

    learned, apart = _pairs(model, latents, rng)
    return Evaluation(
        horizon=list(range(1, span + 1)),
        open_loop=error(imagined),
        no_change=error(first[:, None].expand_as(later)),
        latent_std=float(latents.flat.std(dim=0).median()),
        effective_rank=effective_rank(latents.flat),
        reach_rank_correlation=float(spearmanr(learned, apart).statistic),
    )


def longest_span(lengths: NDArray[np.int64]) -> int:
    """Steps that can be imagined and compared often enough, at most `FARTHEST`."""
    for span in range(min(FARTHEST, int(lengths.max())), 1, -1):
        if np.maximum(lengths - span + 1, 0).sum() >= LEAST_WINDOWS:
            return span
    return 1


def effective_rank(latents: Tensor) -> float:
    """See `Evaluation`; of latents (N, D)."""
    values = torch.linalg.eigvalsh(torch.cov(latents.double().T)).clamp(min=0)
    shares = values / values.sum().clamp(min=1e-30)
    entropy = -(shares * shares.clamp(min=1e-30).log()).sum()
    return float(entropy.exp())


def _pairs(
    model: CompactModel, latents: EpisodeLatents, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Learned times to reach between frames of one episode, and the steps between them."""
    episode, start = draw_windows(latents.lengths, 1, PAIRS, rng)
    room = latents.lengths[episode] - start
    apart = 1 + (rng.random(PAIRS) * np.minimum(room, FARTHEST)).astype(np.int64)
    learned = model.time_to_reach(latents.at(episode, start), latents.at(episode, start + apart))
    return learned.cpu().numpy(), apart
