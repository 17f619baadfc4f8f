"""What a trained model must reach before anyone plans with it, measured on held-out motion."""

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
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.losses.latents import encode_all

JUDGED_PAIRS = 2000


@dataclass(frozen=True)
class Gates:
    """Measured quality of a world model.

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
        """The gates that are missed, in words.

        Args:
            probe_limit_px: largest probe error, which depends on how much else latents show.
        """
        limits = {'probe_px': probe_limit_px, 'open_loop_25_px': 3.0, 'open_loop_50_px': 4.0}
        missed = [
            f'{name} is {getattr(self, name):.2f}, at most {limit} allowed'
            for name, limit in limits.items()
            if not getattr(self, name) <= limit
        ]
        if not self.reach_rank_correlation >= 0.95:
            missed.append(
                f'reach_rank_correlation is {self.reach_rank_correlation:.3f}, at least 0.95 asked'
            )
        return missed


@torch.no_grad()
def measure(model: CompactModel, fit: MotionDataset, held_out: MotionDataset, seed: int) -> Gates:
    """Measure a model: the probe is fitted on `fit`, everything is judged on `held_out`."""
    probe = fit_probe(encode_all(model, fit).stacked(), _all_pixels(fit))
    latents, pixels = encode_all(model, held_out).stacked(), _all_pixels(held_out)
    episodes = np.arange(held_out.episodes)
    actions = held_out.actions(episodes, np.zeros_like(episodes), held_out.length)
    imagined = rollout(model, latents[:, :1], actions[:, :0], actions)

    def error(states: Tensor, truth: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(apply_probe(probe, states) - truth, axis=-1).mean())

    distance, truth = _distances(model, held_out, latents, pixels, seed)
    return Gates(
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
