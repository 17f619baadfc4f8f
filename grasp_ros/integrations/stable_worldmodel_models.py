"""World models of the library stable-worldmodel behind the WorldModel protocol.

They are recognised by what they can do, not by their classes, so that subclasses work too and
nothing of the library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from grasp_ros.models.protocol import Observation

Info = Mapping[str, Any]
"""Observations of the library's environments and policies: arrays (B, K, ...) by name."""

NOT_OBSERVED = ('action', 'action_history')
DEFAULT_HISTORY = 3
"""Frames that the library's `rollout` looks back on where the predictor does not say."""


class LibraryModel(Protocol):
    """How one kind of the library's models encodes and predicts.

    Attributes:
        history: frames that it looks back on; fewer are allowed.
    """

    @property
    def history(self) -> int: ...  # noqa: D102 - see the class

    def embed(self, info: Info, *, goal: bool = False) -> Tensor:
        """Latents (B, K, *Z) of the observation, or of the goal beside it."""
        ...

    def step(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Next latents (N, *Z) from (N, K, *Z) and actions (N, K, A), 1 <= K <= history."""
        ...


@dataclass(frozen=True)
class VectorModel:
    """LeWM, PLDM and their like: one vector for a frame, an encoder for actions beside it."""

    model: Any

    @property
    def history(self) -> int:
        """Frames that the predictor looks back on."""
        return int(getattr(self.model.predictor, 'num_frames', DEFAULT_HISTORY))

    def embed(self, info: Info, *, goal: bool = False) -> Tensor:
        """Latents (B, K, D); the goal is encoded from `goal` and every `goal_*`."""
        seen = {name: value for name, value in info.items() if name not in NOT_OBSERVED}
        if goal:
            seen['pixels'] = seen['goal']
            seen |= {
                name.removeprefix('goal_'): value
                for name, value in info.items()
                if name.startswith('goal_')
            }
        latents = self.model.encode(seen)['emb']
        assert isinstance(latents, Tensor)
        return latents

    def step(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predict the next latents; see `LibraryModel.step`."""
        predicted = self.model.predict(latents, self.model.action_encoder(actions))
        assert isinstance(predicted, Tensor)
        return predicted[:, -1]


@dataclass(frozen=True)
class PatchModel:
    """PreJEPA (DINO-WM): patch tokens with the actions' embedding among their components.

    The latents that are planned in lack these components: an action is no part of a state.
    """

    model: Any

    @property
    def history(self) -> int:
        """Frames that the predictor looks back on."""
        return int(self.model.history_size)

    def embed(self, info: Info, *, goal: bool = False) -> Tensor:
        """Latents (B, K, P, D) of images and whatever else the model encodes but actions."""
        found = self.model.encode(
            dict(info),
            pixels_key='goal' if goal else 'pixels',
            prefix='goal_' if goal else '',
            emb_keys=[key for key in self.model.extra_encoders if key != 'action'],
            target='planned_latent',
        )['planned_latent']
        assert isinstance(found, Tensor)
        return found

    def step(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predict the next latents; see `LibraryModel.step`."""
        encoders = self.model.extra_encoders
        names = list(encoders)
        after = sum(encoders[key].emb_dim for key in names[names.index('action') + 1 :])
        first = latents.shape[-1] - after
        embedded = encoders['action'](actions)[:, :, None]
        tiled = embedded.expand(-1, -1, latents.shape[2], -1)
        predicted = self.model.predict(
            torch.cat([latents[..., :first], tiled, latents[..., first:]], dim=-1)
        )[:, -1]
        rest = predicted[..., first + tiled.shape[-1] :]
        return torch.cat([predicted[..., :first], rest], dim=-1)


def library_model(model: Any) -> LibraryModel:
    """How a model of the library is to be spoken to.

    Raises:
        ValueError: if it has no latent dynamics that a goal image could be compared in.
    """
    if all(hasattr(model, name) for name in ('encode', 'predict', 'action_encoder', 'predictor')):
        return VectorModel(model)
    has_tokens = all(hasattr(model, name) for name in ('encode', 'predict', 'history_size'))
    if has_tokens and 'action' in getattr(model, 'extra_encoders', {}):
        return PatchModel(model)
    raise ValueError(
        f'cannot plan with a {type(model).__name__}: a model must have encode, predict, predictor '
        'and action_encoder, as LeWM and PLDM have, or encode, predict, history_size and an '
        "encoder of 'action' in extra_encoders, as PreJEPA has"
    )


@dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A model of the library behind the WorldModel protocol.

    Early in an episode the library's models predict from the few frames that there are. Here
    frames that were never seen are NaN, and left out before the model is asked.

    Attributes:
        library: the model.
        latent_shape: Z.
        action_dim: A, a block of commands.
        device: where latents are.
        dtype: of latents.
    """

    library: LibraryModel
    latent_shape: tuple[int, ...]
    action_dim: int
    device: torch.device
    dtype: torch.dtype

    @property
    def history(self) -> int:
        """H, frames that the model looks back on."""
        return self.library.history

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Encode; proprioception is called `proprio`, as in the library."""
        info: dict[str, Any] = {'pixels': observation.images}
        if observation.proprioception is not None:
            info['proprio'] = observation.proprioception
        return self.library.embed(info)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predict; rows with as many unseen frames are predicted together."""
        if self.history == 1:
            return self.library.step(latents, actions)
        unseen = latents.flatten(2)[:, :, 0].isnan().sum(dim=1).clamp(max=self.history - 1)
        counts = unseen.unique().tolist()
        if len(counts) == 1:
            return self.library.step(latents[:, counts[0] :], actions[:, counts[0] :])
        order = [(unseen == count).nonzero()[:, 0] for count in counts]
        parts = [
            self.library.step(latents[rows, count:], actions[rows, count:])
            for rows, count in zip(order, counts, strict=True)
        ]
        return torch.cat(parts)[torch.cat(order).argsort()]
