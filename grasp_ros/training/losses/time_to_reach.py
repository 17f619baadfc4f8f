"""The time-to-reach head, trained on the frozen latents of recorded motion.

Pairs k steps apart in one episode may be at most k steps apart (a constraint with a dual weight);
random pairs are pushed apart. What remains is the shortest time (quasimetric reinforcement
learning, Wang et al., ICML 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor
from tqdm import tqdm

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.sim.motion import collect
from grasp_ros.sim.rooms.world import WalledWorld
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.losses.world_model import reach_separation, reach_violation

MAX_SEPARATION = 30
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
    longest = np.minimum(MAX_SEPARATION, length)
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


EPISODES, LENGTH, STRIDE = 60, 20, 2
LANDMARKS = 48
NEIGHBOUR_STEPS = 5.5
"""Latents so many steps of motion apart are joined; places on both sides of a wall lie farther."""
MIN_STEPS = 0.05
SOFTENING = 3.0
FAST = 0.5
"""Commands above this fraction of the fastest are those of fast motion."""


@dataclass(frozen=True, eq=False)
class ReachLabels:
    """Latents of W worlds, and times to reach between some of them.

    Attributes:
        latents: (W, N, D).
        landmarks: (W, M) indices of the latents that times were computed from.
        steps: (W, M, N) model steps from each landmark; infinite where the graph is not connected.
    """

    latents: Tensor
    landmarks: Tensor
    steps: Tensor


@torch.no_grad()
def label(
    model: CompactModel,
    worlds: Sequence[WalledWorld],
    one_step: float,
    action_std: float,
    seed: int,
    near_door: float,
) -> ReachLabels:
    """Record, encode and label random motion in each world.

    Args:
        model: its encoder is trained.
        worlds: W of them.
        one_step: mean squared latent difference of one step of motion.
        action_std: of the model's actions, m/s.
        seed: of all randomness.
        near_door: fraction of the motions that start near a door.
    """
    latents, landmarks, steps = [], [], []
    for index, world in enumerate(tqdm(worlds, desc='labelling', unit='layout')):
        motion = collect(world, EPISODES, LENGTH, [seed, index], near_door)
        dataset = MotionDataset([world], motion, action_std)
        encoded = encode_all(model, dataset, stride=STRIDE).stacked()
        nodes = encoded.flatten(0, 1)
        rng = np.random.default_rng([seed, index, 1])
        chosen = rng.choice(len(nodes), LANDMARKS, replace=False)
        graph = neighbour_graph(encoded, one_step)
        latents.append(nodes)
        landmarks.append(torch.from_numpy(chosen))
        steps.append(torch.from_numpy(dijkstra(graph, directed=False, indices=chosen)).half())
    return ReachLabels(torch.stack(latents), torch.stack(landmarks), torch.stack(steps))


def neighbour_graph(latents: Tensor, one_step: float) -> csr_matrix:
    """Graph (N, N) over latents (E, F, D) of episodes: its edges are times in model steps.

    Args:
        latents: of one world, `STRIDE` steps apart in each episode.
        one_step: mean squared latent difference of one step of motion.
    """
    nodes = latents.flatten(0, 1)
    squared = torch.cdist(nodes, nodes).square() / nodes.shape[-1]
    steps = (squared / one_step).sqrt().double().numpy()
    edges = np.where(steps < NEIGHBOUR_STEPS, np.maximum(steps, MIN_STEPS), 0.0)
    np.fill_diagonal(edges, 0.0)
    number = np.arange(len(nodes)).reshape(latents.shape[:2])
    before, after = number[:, :-1].ravel(), number[:, 1:].ravel()
    known = edges[before, after]
    edges[before, after] = np.minimum(np.where(known > 0, known, STRIDE), STRIDE)
    return csr_matrix(edges)


def graph_reach_loss(
    model: CompactModel, labels: ReachLabels, batch: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Squared relative error of the head, both ways.

    Args:
        model: its head is trained.
        labels: what is known.
        batch: pairs.
        rng: draws them.
    """
    worlds, landmarks, nodes = labels.steps.shape
    world = torch.from_numpy(rng.integers(0, worlds, batch))
    landmark = torch.from_numpy(rng.integers(0, landmarks, batch))
    node = torch.from_numpy(rng.integers(0, nodes, batch))
    steps = labels.steps[world, landmark, node].float()
    known = torch.isfinite(steps)
    steps = torch.where(known, steps, 0.0)
    source = labels.latents[world, labels.landmarks[world, landmark]]
    target = labels.latents[world, node]
    # Half the time of float32 where the processor has it, and the labels are less exact anyway.
    with torch.autocast('cpu', torch.bfloat16):
        there, back = model.time_to_reach(source, target), model.time_to_reach(target, source)

    def error(learned: Tensor) -> Tensor:
        return ((learned.float() - steps) / (steps + SOFTENING))[known].square().mean()

    return {'total': error(there) + error(back)}


def median_step(latents: EpisodeLatents, fractions: NDArray[np.float64]) -> float:
    """Median mean squared difference of consecutive latents in fast motion.

    Args:
        latents: of every frame.
        fractions: (N, R) of their commands, as the dataset gives them.

    Raises:
        ValueError: if there is no fast motion.
    """
    moving = torch.from_numpy(np.abs(fractions).max(axis=-1) > FAST)[:-1]
    if not moving.any():
        raise ValueError('the recorded robot hardly moves: there is nothing to learn from')
    change = (latents.flat[1:] - latents.flat[:-1]).square().mean(dim=-1)
    return float(change[moving].median())
