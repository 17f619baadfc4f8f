"""A world model that counts what a planner asks of it."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_ros.core.types import Observation
from grasp_ros.models.compact import CompactModel


class CountingModel:
    """Passes everything on to a model and counts the calls of its predictor.

    Attributes:
        predictor_calls: made so far.
        predicted_rows: rows of all of them.
    """

    def __init__(self, model: CompactModel) -> None:
        """Count for `model`."""
        self.model = model
        self.latent_shape = model.latent_shape
        self.action_dim = model.action_dim
        self.history = model.history
        self.predictor_calls = 0
        self.predicted_rows = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of latents and actions."""
        return self.model.dtype

    def encode(self, observation: Observation) -> Tensor:
        """See WorldModel."""
        return self.model.encode(observation)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See WorldModel."""
        self.predictor_calls += 1
        self.predicted_rows += len(latents)
        return self.model.predict(latents, actions)

    @property
    def knows_manifold(self) -> bool:
        """See HasManifold."""
        return self.model.knows_manifold

    def off_manifold(self, latents: Tensor) -> Tensor:
        """See HasManifold."""
        return self.model.off_manifold(latents)

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        """See HasTimeToReach."""
        return self.model.time_to_reach(latents, goal)
