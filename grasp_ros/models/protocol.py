"""The world-model protocol, the serial rollout, and the bundle of a model with its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.action_space import ActionSpace
from grasp_ros.models.sensors import RgbImage, SensorSpec

Pullback = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a gradient in predictions (N, *Z) to those in latents (N, H, *Z) and actions (N, H, A)."""


@runtime_checkable
class WorldModel(Protocol):
    """A visual encoder and an action-conditioned predictor of its latents.

    Attributes:
        latent_shape: Z, as (D,) for one vector or (P, D) for P patch tokens.
        action_dim: A, components of a normalised action (commands of one model step).
        history: H, frames of context that `predict` takes.
        device: where its weights are.
        dtype: of latents and actions.
    """

    @property
    def latent_shape(self) -> tuple[int, ...]: ...  # noqa: D102 - see the class
    @property
    def action_dim(self) -> int: ...  # noqa: D102
    @property
    def history(self) -> int: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def encode(self, observation: Observation) -> Tensor:
        """Observations of K frames to latents (B, K, *Z), without gradients.

        Goals have no proprioception; a model that takes it must do without it there.
        """
        ...

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, H, *Z) and actions (N, H, A) to the next latents (N, *Z).

        Stateless and differentiable; actions[:, k] is taken while leaving frame k.
        """
        ...


def visual(model: WorldModel, latents: Tensor) -> Tensor:
    """The part of latents (..., *Z) that images show: all of it in most models.

    A model with proprioception says in `visual_width` how many elements of the last axis that
    are; the others are not compared with a goal's.
    """
    width = getattr(model, 'visual_width', None)
    return latents if width is None or width == latents.shape[-1] else latents[..., :width]


@runtime_checkable
class HasLinearisation(Protocol):
    """A world model that differentiates its predictor faster than autograd does."""

    def linearise(self, latents: Tensor, actions: Tensor) -> tuple[Tensor, Pullback]:
        """Predict as `predict` does, and return the vector-Jacobian product beside it."""
        ...


@runtime_checkable
class HasTimeToReach(Protocol):
    """A world model with a learned distance."""

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Model steps from latents (..., *Z) to goals (..., *Z); leading shapes broadcast."""
        ...


@runtime_checkable
class HasManifold(Protocol):
    """A world model that may know which latents are those of images.

    Attributes:
        knows_manifold: whether it does.
    """

    @property
    def knows_manifold(self) -> bool: ...  # noqa: D102 - see the class

    def off_manifold(self, latents: Tensor) -> Tensor:
        """How far latents (..., *Z) are from all that images are encoded to (...).

        In units of what few of the training latents exceed: above 1 the model has probably
        imagined something that cannot be seen.
        """
        ...


@runtime_checkable
class HasTimeToReachGradient(HasTimeToReach, Protocol):
    """A world model that differentiates its learned distance faster than autograd does."""

    def time_to_reach_gradient(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Time to reach, and the gradient of its sum in the latents (..., *Z).

        The goals broadcast against the latents, not the other way round.
        """
        ...


@runtime_checkable
class HasDecoder(Protocol):
    """A world model that can show people what it imagines."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, *Z) to images (N, 3, h, w) float in [0, 1].

        Those of several cameras stand `side_by_side`.
        """
        ...


def provides(model: WorldModel, protocol: type) -> bool:
    """Return whether a model has all methods of a protocol."""
    # isinstance looks the protocol's members up every time: too long inside an iteration.
    return issubclass(type(model), protocol)


def side_by_side(images: Tensor) -> Tensor:
    """Images (N, 3, h, w) as they are, those of C cameras (N, C, 3, h, w) as (N, 3, h, C w)."""
    if images.dim() == 4:
        return images
    return images.permute(0, 2, 3, 1, 4).flatten(3)


def windows(
    context: Tensor, states: Tensor, past_actions: Tensor, actions: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs of all T predictions s_{t+1} = F(s_{t-H+1..t}, a_{t-H+1..t}) at once.

    Args:
        context: (B, H, *Z), newest last: .., s_0.
        states: (B, T, *Z): s_1 .. s_T; s_T is the input of no prediction.
        past_actions: (B, H - 1, A).
        actions: (B, T, A): a_0 .. a_{T-1}.

    Returns:
        Latents (B, T, H, *Z) and actions (B, T, H, A).
    """
    history, horizon = context.shape[1], actions.shape[1]
    latents = torch.cat([context, states[:, :-1]], dim=1)
    if history == 1:
        return latents.unsqueeze(2), actions.unsqueeze(2)
    padded = torch.cat([past_actions, actions], dim=1)
    steps = torch.arange(horizon, device=actions.device)[:, None]
    index = steps + torch.arange(history, device=actions.device)
    return latents[:, index], padded[:, index]


def fold(gradient: Tensor) -> Tensor:
    """Gradients in windows (B, T, H, ...) summed over the windows of each frame.

    Returns:
        (B, H - 1 + T, ...): the reverse of what `windows` does to the frames or actions.
    """
    batch, horizon, history = gradient.shape[:3]
    if history == 1:
        return gradient.squeeze(2)
    total = gradient.new_zeros(batch, history - 1 + horizon, *gradient.shape[3:])
    for frame in range(history):
        total[:, frame : frame + horizon] += gradient[:, :, frame]
    return total


def linearise(
    model: WorldModel, latents: Tensor, actions: Tensor, through_latents: bool = True
) -> tuple[Tensor, Pullback]:
    """Predictions (N, *Z) without gradients, and their vector-Jacobian product.

    The product may be asked for again and again; while it lives it holds the memory for it.

    Args:
        model: the world model.
        latents: (N, H, *Z).
        actions: (N, H, A).
        through_latents: False where gradients in the latents are not asked for; they may then
            be anything.
    """
    if provides(model, HasLinearisation):
        return cast(HasLinearisation, model).linearise(latents, actions)
    latents = latents.detach().requires_grad_(through_latents)
    actions = actions.detach().requires_grad_()
    variables = [latents, actions] if through_latents else [actions]
    with torch.enable_grad():
        predicted = model.predict(latents, actions)

    def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.autograd.grad(predicted, variables, gradient, retain_graph=True)
        return found[0], found[-1]

    return predicted.detach(), pullback


def predict_windows(model: WorldModel, latents: Tensor, actions: Tensor) -> Tensor:
    """All predictions of `windows` (B, T, H, ...) in one call, as (B, T, *Z)."""
    predicted = model.predict(latents.flatten(0, 1), actions.flatten(0, 1))
    return predicted.unflatten(0, actions.shape[:2])


def rollout(model: WorldModel, context: Tensor, past_actions: Tensor, actions: Tensor) -> Tensor:
    """Predict step by step, each prediction fed back: the only loop over time.

    Args:
        model: the world model.
        context: (B, H, *Z), newest last.
        past_actions: (B, H - 1, A) between the context's frames.
        actions: (B, T, A).

    Returns:
        The states s_1 .. s_T (B, T, *Z).
    """
    history = context.shape[1]
    taken = torch.cat([past_actions, actions], dim=1)
    frames = context
    states = []
    for step in range(actions.shape[1]):
        following = model.predict(frames, taken[:, step : step + history])
        states.append(following)
        newest = following.unsqueeze(1)
        frames = newest if history == 1 else torch.cat([frames[:, 1:], newest], dim=1)
    return torch.stack(states, dim=1)


@dataclass(frozen=True, eq=False)
class Observation:
    """Images and proprioception, the input of a world model's encoder.

    Attributes:
        images: (B, K, 3, h, w) float RGB in [0, 1]; of C > 1 cameras (B, K, C, 3, h, w), in the
            order of the manifest.
        proprioception: normalised (B, K, Q), or None: goals have none.
    """

    images: Tensor
    proprioception: Tensor | None = None


NoveltyMeasure = Callable[[Tensor, Tensor], Tensor]
"""Latents (N, *Z) and images (N, 3, h, w), of C cameras (N, C, 3, h, w), to novelty (N).

1 is the most of familiar images.
"""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A world model with all that a controller needs to give it images and take commands.

    Attributes:
        model: the world model.
        preprocess: (h, w, 3) uint8 RGB to the encoder's input (3, h', w') float in [0, 1].
        action_space: the commands' meaning.
        sensors: what an observation is made of.
        novelty: how unlike the training data images are; None where nothing measures it.
    """

    model: WorldModel
    preprocess: Callable[[RgbImage], NDArray[np.float32]]
    action_space: ActionSpace
    sensors: SensorSpec = field(default_factory=SensorSpec)
    novelty: NoveltyMeasure | None = None
