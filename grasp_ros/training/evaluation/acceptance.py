"""Evaluation of a trained model on held-out data, and the thresholds of its acceptance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.protocol import rollout
from grasp_ros.sim.rooms.episodes import path_lengths
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all

JUDGED_PAIRS = 2000
MAX_OPEN_LOOP_25_PX, MAX_OPEN_LOOP_50_PX = 3.0, 4.0
MIN_REACH_RANK_CORRELATION = 0.95


@dataclass(frozen=True)
class Acceptance:
    """Acceptance test in simulation: errors against true positions, with their thresholds.

    Attributes:
        probe_px: mean position error of a linear probe of the latent, px.
        open_loop_25_px: mean error of the probed position after 25 imagined steps, px.
        open_loop_50_px: after 50.
        reach_rank_correlation: Spearman's, of the head with the true shortest path length.
    """

    probe_px: float
    open_loop_25_px: float
    open_loop_50_px: float
    reach_rank_correlation: float

    def failures(self, probe_limit_px: float = 0.5) -> list[str]:
        """Name the acceptance thresholds that are missed.

        Args:
            probe_limit_px: largest probe error, which depends on how much else latents show.
        """
        limits = {
            'probe_px': probe_limit_px,
            'open_loop_25_px': MAX_OPEN_LOOP_25_PX,
            'open_loop_50_px': MAX_OPEN_LOOP_50_PX,
        }
        missed = [
            f'{name} is {getattr(self, name):.2f}, at most {limit} allowed'
            for name, limit in limits.items()
            if not getattr(self, name) <= limit
        ]
        if not self.reach_rank_correlation >= MIN_REACH_RANK_CORRELATION:
            missed.append(
                f'reach_rank_correlation is {self.reach_rank_correlation:.3f}, at least '
                f'{MIN_REACH_RANK_CORRELATION} asked'
            )
        return missed


@torch.no_grad()
def measure_acceptance(
    model: CompactModel, fit: MotionDataset, held_out: MotionDataset, seed: int
) -> Acceptance:
    """Measure a model: the probe is fitted on `fit`, everything is judged on `held_out`."""
    probe = fit_probe(encode_all(model, fit).stacked(), _all_pixels(fit))
    latents, pixels = encode_all(model, held_out).stacked(), _all_pixels(held_out)
    episodes = np.arange(held_out.episodes)
    actions = held_out.actions(episodes, np.zeros_like(episodes), held_out.length)
    imagined = rollout(model, latents[:, :1], actions[:, :0], actions)

    def error(states: Tensor, truth: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(apply_probe(probe, states) - truth, axis=-1).mean())

    distance, truth = _distances(model, held_out, latents, pixels, seed)
    return Acceptance(
        probe_px=error(latents, pixels),
        open_loop_25_px=error(imagined[:, 24], pixels[:, 25]),
        open_loop_50_px=error(imagined[:, 49], pixels[:, 50]),
        reach_rank_correlation=float(spearmanr(distance, truth).statistic),
    )


def _distances(
    model: CompactModel,
    dataset: MotionDataset,
    latents: Tensor,
    pixels: NDArray[np.float64],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Learned and true distances of random pairs, each pair within one world."""
    rng = np.random.default_rng(seed)
    each = dataset.episodes_each
    learned, true = [], []
    for index, world in enumerate(dataset.worlds):
        part = slice(index * each, (index + 1) * each)
        flat, flat_pixels = latents[part].flatten(0, 1), pixels[part].reshape(-1, 2)
        first, second = rng.integers(0, len(flat), (2, JUDGED_PAIRS // len(dataset.worlds)))
        learned.append(model.time_to_reach(flat[first], flat[second]).numpy())
        true.append(path_lengths(world, flat_pixels[second], flat_pixels[first]))
    return np.concatenate(learned), np.concatenate(true)


def fit_probe(latents: Tensor, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares map (D + 1, 2) from latents (..., D) to positions (..., 2) in px."""
    design = _with_ones(latents)
    return np.asarray(np.linalg.lstsq(design, pixels.reshape(-1, 2), rcond=None)[0], np.float64)


def apply_probe(probe: NDArray[np.float64], latents: Tensor) -> NDArray[np.float64]:
    """Positions (..., 2) in px that a probe reads from latents (..., D)."""
    return np.asarray(_with_ones(latents) @ probe).reshape(*latents.shape[:-1], 2)


def _with_ones(latents: Tensor) -> NDArray[np.float64]:
    flat = latents.detach().reshape(-1, latents.shape[-1]).double().numpy()
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def _all_pixels(dataset: MotionDataset) -> NDArray[np.float64]:
    episode = np.arange(dataset.episodes)[:, None]
    steps = np.arange(dataset.length + 1)[None]
    return dataset.pixels(*np.broadcast_arrays(episode, steps))


MAX_DISTANCE = 50
WINDOWS = 500
MIN_WINDOWS = 20
PAIRS = 2000
COLLAPSED_STD = 0.1
MIN_RANK = 2.0


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of a world model on held-out episodes.

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
        """Name what makes the model useless."""
        faults = []
        if not self.latent_std >= COLLAPSED_STD:
            faults.append(
                f'the latents have collapsed: latent_std is {self.latent_std:.3f}, at least '
                f'{COLLAPSED_STD} asked'
            )
        if not self.effective_rank >= MIN_RANK:
            faults.append(
                f'the latents have collapsed: effective_rank is {self.effective_rank:.1f}, at '
                f'least {MIN_RANK} asked'
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
    """Steps that can be imagined and compared often enough, at most `MAX_DISTANCE`."""
    for span in range(min(MAX_DISTANCE, int(lengths.max())), 1, -1):
        if np.maximum(lengths - span + 1, 0).sum() >= MIN_WINDOWS:
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
    apart = 1 + (rng.random(PAIRS) * np.minimum(room, MAX_DISTANCE)).astype(np.int64)
    learned = model.time_to_reach(latents.at(episode, start), latents.at(episode, start + apart))
    return learned.cpu().numpy(), apart
