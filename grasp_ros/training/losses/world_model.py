"""One optimiser step of the encoder and the predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.protocol import rollout, side_by_side
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.losses.latents import EpisodeLatents, embed

DISPLACEMENT_TARGETS = (2, 4)
"""Which of these frames are compared with the first one in inverse dynamics of several steps."""
MIN_DISPLACEMENT = 0.01
SPAN = 25
"""Model steps of the rollouts, unless another number is asked for."""
MIN_SPAN = 2


def target_steps(span: int) -> NDArray[np.int64]:
    """Steps at which a rollout is compared with images: 1, 2, 4, 8, .. and the last.

    Raises:
        ValueError: if the span is too short to learn from.
    """
    if span < MIN_SPAN:
        raise ValueError(f'span is {span}; at least {MIN_SPAN} steps are needed')
    powers = 2 ** np.arange(span.bit_length())
    return np.append(powers[powers < span], span)


@dataclass(frozen=True)
class WorldModelWeights:
    """Weights of the loss terms; the rollout has weight 1.

    `decoded` is no weight: one window in so many is decoded.
    """

    one_step: float = 1.0
    variance: float = 1.0
    covariance: float = 0.01
    smoothness: float = 0.2
    inverse_dynamics: float = 1.0
    displacement: float = 0.0
    reconstruction: float = 0.0
    decoded: int = 4


def inverse_heads(model: CompactModel, weights: WorldModelWeights) -> nn.ModuleList:
    """Linear maps from pairs of latents to the (mean) action between them, one for each span."""
    spans = 1 + (len(DISPLACEMENT_TARGETS) if weights.displacement else 0)
    width = model.latent_shape[0]
    return nn.ModuleList([nn.Linear(2 * width, model.action_dim) for _ in range(spans)])


def world_model_loss(
    model: CompactModel,
    inverse: nn.ModuleList,
    dataset: Dataset,
    batch: int,
    weights: WorldModelWeights,
    rng: np.random.Generator,
    span: int = SPAN,
) -> dict[str, Tensor]:
    """Loss terms on random windows of the data; 'total' is their weighted sum.

    A rollout of `span` steps from the first frame is compared with the encodings of sparse later
    frames; consecutive frames give the one-step, smoothness and inverse dynamics terms. `inverse`
    is made by `inverse_heads`.
    """
    targets_at = target_steps(span)
    episodes, start = draw_windows(dataset.lengths, span, batch, rng)
    steps = start[:, None] + np.concatenate([[0], targets_at])
    episode_of = np.broadcast_to(episodes[:, None], steps.shape)
    images = dataset.images(episode_of, steps).to(model.device)
    actions = dataset.actions(episodes, start, span).to(model.device)
    latents = embed(model, dataset, episode_of, steps, images)

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
        'rollout': (imagined[:, targets_at - 1] - targets).square().mean(),
        'one_step': one_step.square().mean(),
        'variance': variance_hinge(flat),
        'covariance': covariance(flat),
        'smoothness': (
            (second - first).square().mean() + (third - second).square().mean()
        ) / 2,
        'inverse_dynamics': (inverse[0](pairs) - taken).square().mean(),
    }
    if weights.displacement:
        terms['displacement'] = _displacement(inverse, latents, actions, targets_at)
    if weights.reconstruction:
        # What never moves, as walls, is in hardly any other term.
        part = slice(0, None, weights.decoded)
        terms['reconstruction'] = reconstruction_error(model, latents[part, 0], images[part, 0])
    total = terms['rollout']
    for name in tuple(terms)[1:]:
        total = total + getattr(weights, name) * terms[name]
    return {'total': total, **terms}


def reconstruction_error(model: CompactModel, latents: Tensor, images: Tensor) -> Tensor:
    """Squared error of decoded images, weighted towards what differs from the mean image.

    Args:
        model: its decoder is judged.
        latents: (N, D).
        images: (N, 3, h, w) in [0, 1]; of several cameras (N, K, 3, h, w).
    """
    error = (model.decode(latents) - side_by_side(images)).square()
    unusual = side_by_side(images - model.mean_image)
    emphasis = 1.0 + 20.0 * unusual.abs().amax(dim=1, keepdim=True)
    return 100.0 * (emphasis * error).mean()


def _displacement(
    inverse: nn.ModuleList, latents: Tensor, actions: Tensor, targets_at: NDArray[np.int64]
) -> Tensor:
    """Error of the mean actions over several steps, relative to their size."""
    errors = []
    for head, wanted in zip(list(inverse)[1:], DISPLACEMENT_TARGETS, strict=True):
        target = min(wanted, len(targets_at) - 1)
        mean = actions[:, : int(targets_at[target])].mean(dim=1)
        read = head(torch.cat([latents[:, 0], latents[:, 1 + target]], dim=-1))
        # A batch in which all robots stand has nothing to be relative to.
        size = mean.square().mean().clamp(min=MIN_DISPLACEMENT)
        errors.append((read - mean).square().mean() / size)
    return torch.stack(errors).mean()


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
    """Squared excess of that time over the steps between pairs of one episode. Both (N,)."""
    return torch.relu(distance / steps - 1.0).square().mean()


PREDICTOR_SPAN = 16
"""Model steps of a rollout, unless another number is asked for."""
BATCH = 256
START_NOISE = 0.5
"""Standard deviation of the noise on a rollout's start, in steps of motion: planners ask from
latents that are not quite those of a image, and errors must not grow from there."""


@dataclass(frozen=True, eq=False)
class LatentMotion:
    """Recorded motion as the model sees it.

    Attributes:
        latents: of every frame of the dataset.
        dataset: what they are of.
        span: model steps of a window, T; fewer where no episode is as long.
    """

    latents: EpisodeLatents
    dataset: Dataset
    span: int = PREDICTOR_SPAN

    def windows(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random windows: latents (count, T + 1, D) and actions (count, T, A)."""
        span = min(self.span, int(self.latents.lengths.max()))
        episode, start = draw_windows(self.latents.lengths, span, count, rng)
        latents = self.latents.at(episode[:, None], start[:, None] + np.arange(span + 1))
        return latents, self.dataset.actions(episode, start, span).to(latents)


def predictor_loss(
    model: CompactModel,
    sources: Sequence[LatentMotion],
    one_step: float,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Squared error of rollouts in units of one step of motion.

    Args:
        model: its predictor is trained.
        sources: each gives as many windows.
        one_step: mean squared latent difference of one step of motion.
        rng: draws windows and noise.
    """
    parts = [source.windows(BATCH // len(sources), rng) for source in sources]
    latents = torch.cat([part[0] for part in parts])
    actions = torch.cat([part[1] for part in parts])
    state = latents[:, 0]
    amount = START_NOISE * one_step**0.5 * torch.from_numpy(rng.random((len(state), 1)))
    noise = torch.from_numpy(rng.standard_normal(tuple(state.shape)))
    state = state + (amount * noise).to(state)
    errors = []
    with torch.autocast(state.device.type, torch.bfloat16):
        for step in range(actions.shape[1]):
            inputs = torch.cat([state, actions[:, step]], dim=-1)
            state = state + model.predictor(inputs).float()
            errors.append((state - latents[:, step + 1]).square().mean())
    return {'total': torch.stack(errors).mean() / one_step, 'last': errors[-1] / one_step}
