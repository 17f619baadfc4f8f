"""Reads agent and block poses from a world model's latents: what the model imagines, in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.push_t.world import SIZE, errors, succeeded

Array = NDArray[np.float64]

PROBE_SEED = 300_000
"""Of the motion that probes are fitted on: none of training, tuning or evaluation."""
EPISODES, LENGTH = 150, 40
"""Of that motion, in episodes and model steps; on a fifth of the episodes the probe is tried."""
FEATURES = 1024
PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Ridge penalties tried, for each row."""


@dataclass(frozen=True)
class ProbeError:
    """Errors of a probe, on motion that the probe was not fitted on.

    Attributes:
        position_px: median position error of agent and block together.
        angle_rad: median angle error of the block.
        within: share of images read within the criterion of success: the most that imagined
            success can be.
    """

    position_px: float
    angle_rad: float
    within: float


@dataclass(frozen=True, eq=False)
class PoseProbe:
    """Ridge regression from standardised latents and fixed random rectified features of them.

    Attributes:
        centre: (D,) of the latents.
        scale: (D,).
        first: (D + 1, F), the random features' weights, offset last.
        second: (D + F + 1, 6) to places over the table's side, cosine and sine; offset last.
    """

    centre: Array
    scale: Array
    first: Array
    second: Array

    def __call__(self, latents: Array) -> Array:
        """Poses (N, 5), as a simulator state begins, of latents (N, D)."""
        read = _features(latents, self.centre, self.scale, self.first) @ self.second
        return np.concatenate(
            [read[:, :4] * SIZE, np.arctan2(read[:, 5], read[:, 4])[:, None]], axis=1
        )

    def error(self, latents: Array, states: Array) -> ProbeError:
        """Its errors on latents (N, D) of states (N, >= 5)."""
        read = self(latents)
        position, angle = errors(read, states)
        within = succeeded(read, states)
        return ProbeError(
            round(float(np.median(position)), 2),
            round(float(np.median(angle)), 4),
            round(float(within.mean()), 4),
        )


def fit_probe(latents: Array, states: Array, rng: np.random.Generator) -> PoseProbe:
    """Fit on latents (N, D) of states (N, >= 5), the penalty chosen on the last eighth of them.

    Args:
        latents: of images.
        states: of the simulator.
        rng: of the random features.
    """
    centre, scale = latents.mean(axis=0), latents.std(axis=0) + 1e-6
    size = latents.shape[1]
    first = np.vstack([rng.normal(0, size**-0.5, (size, FEATURES)), rng.normal(0, 1, FEATURES)])
    features = _features(latents, centre, scale, first)
    angle = states[:, 4:5]
    targets = np.concatenate([states[:, :4] / SIZE, np.cos(angle), np.sin(angle)], axis=1)
    chosen = len(latents) * 7 // 8
    squares = features[:chosen].T @ features[:chosen]
    crossed = features[:chosen].T @ targets[:chosen]

    def solved(penalty: float) -> Array:
        return np.linalg.solve(squares + penalty * chosen * np.eye(len(squares)), crossed)

    def left(second: Array) -> float:
        return float(np.square(features[chosen:] @ second - targets[chosen:]).mean())

    second = min((solved(penalty) for penalty in PENALTIES), key=left)
    return PoseProbe(centre, scale, first, second)


def probe_of(
    see: Callable[[Array], Array],
    motion: Callable[[int, int, int], Array],
    cached: Path,
    episodes: int = EPISODES,
) -> tuple[PoseProbe, ProbeError]:
    """The probe of a model and its error, from `cached` or fitted and kept there.

    Args:
        see: states (N, 10) to flat latents (N, D).
        motion: states (E, L + 1, 10) of so many episodes of so many model steps, by seed.
        cached: an .npz file.
        episodes: of motion to fit and try it on.
    """
    if not cached.is_file():
        states = motion(episodes, LENGTH, PROBE_SEED)
        split = len(states) * 4 // 5
        fitted, tried = (part.reshape(-1, part.shape[-1])
                          for part in (states[:split], states[split:]))
        probe = fit_probe(see(fitted), fitted, np.random.default_rng(PROBE_SEED))
        error = probe.error(see(tried), tried)
        partial = cached.with_suffix('.part.npz')
        np.savez(partial, error=np.array(list(asdict(error).values())), **vars(probe))
        partial.replace(cached)
    with np.load(cached) as content:
        error = ProbeError(*content['error'].tolist())
        return PoseProbe(*(content[name] for name in PoseProbe.__dataclass_fields__)), error


def _features(latents: Array, centre: Array, scale: Array, first: Array) -> Array:
    """Standardised latents, random rectified features of them, and one (N, D + F + 1)."""
    standard = (latents - centre) / scale
    one = np.ones((len(latents), 1))
    drawn = np.maximum(np.concatenate([standard, one], axis=1) @ first, 0.0)
    return np.concatenate([standard, drawn, one], axis=1)
