"""The phases of a training run, each of which resumes where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from grasp_ros.models.compact import CompactConfig, CompactModel
from grasp_ros.sim.tasks import TASKS
from grasp_ros.training.data import MotionDataset
from grasp_ros.training.gates import encode_all
from grasp_ros.training.loop import Loss, finished, run_phase
from grasp_ros.training.manifold import denoiser_loss
from grasp_ros.training.predictor import LatentMotion, predictor_loss
from grasp_ros.training.reach import reach_loss
from grasp_ros.training.reach_graph import ReachLabels, graph_reach_loss, label, median_step
from grasp_ros.training.recipes import TrainConfig
from grasp_ros.training.world_model import (
    WorldModelWeights,
    inverse_heads,
    reconstruction_error,
    world_model_loss,
)

LABEL_STREAM = 13
"""Tells the randomness of labelled worlds from that of the recorded motion."""


class Trainer:
    """A model in the making.

    Attributes:
        model: with random weights at first.
    """

    def __init__(self, config: TrainConfig, dataset: MotionDataset, work: Path) -> None:
        """Build the model; `work` keeps the progress of all phases."""
        self._config = config
        self._dataset = dataset
        self._work = work
        torch.manual_seed(config.seed)
        self.model = CompactModel(
            CompactConfig(
                latent_dim=config.latent_dim,
                hidden=config.hidden,
                channels=config.channels,
                encoder_hidden=config.encoder_hidden,
                reach_hidden=config.reach_hidden,
                manifold_hidden=config.manifold_hidden,
                keypoints=config.keypoints,
            )
        )
        self._weights = WorldModelWeights(
            smoothness=config.smoothness,
            inverse_dynamics=config.inverse_dynamics,
            displacement=config.displacement,
            reconstruction=config.reconstruction,
        )
        self._inverse = inverse_heads(self.model, self._weights)
        every = max(1, config.episodes // 2000)
        steps = np.random.default_rng(config.seed).integers(
            0, config.length, config.episodes // every
        )
        chosen = np.arange(config.episodes)[::every][: len(steps)]
        self.model.fit_images(dataset.images(chosen, steps))

    def world_model(self) -> None:
        """Encoder and predictor."""
        self._run(
            'world_model',
            self._world_model_parts(),
            lambda rng: self._world_model_loss(self._dataset, rng),
            self._config.iterations,
            1e-3,
        )

    def finetune(self, driven: MotionDataset) -> None:
        """Encoder and predictor once more, every other batch from `driven`."""

        def loss(rng: np.random.Generator) -> dict[str, Tensor]:
            return self._world_model_loss(driven if rng.random() < 0.5 else self._dataset, rng)

        self._run(
            'finetune', self._world_model_parts(), loss, self._config.finetune_iterations, 2e-4
        )

    def time_to_reach(self, latents: Tensor, name: str = 'time_to_reach') -> None:
        """The head, on the latents (E, L + 1, D) of the data; `name` keeps its progress."""
        config = self._config
        if config.reach_graphs:
            # Labels take minutes: not where nothing is left to do with them.
            done = finished(self._work, name, config.reach_iterations)
            labels = None if done else self._label(latents)
            self._run(
                name,
                self.model.reach_embedding,
                lambda rng: graph_reach_loss(
                    self.model, cast(ReachLabels, labels), config.reach_batch, rng
                ),
                config.reach_iterations,
                1e-3,
            )
            return
        weight = nn.ParameterDict({'log_weight': nn.Parameter(torch.zeros(()))})
        self._run(
            name,
            nn.ModuleList([self.model.reach_embedding, weight]),
            lambda rng: reach_loss(
                self.model,
                weight['log_weight'],
                latents,
                config.reach_batch,
                rng,
                config.layouts,
                config.reach_farthest,
            ),
            config.reach_iterations,
            1e-3,
        )

    def predictor(self, latents: Tensor, driven: MotionDataset | None) -> None:
        """The predictor once more, on the latents (E, L + 1, D) of the data and of `driven`."""
        datasets = [(self._dataset, latents)]
        if driven is not None:
            datasets.append((driven, encode_all(self.model, driven)))
        sources = [
            LatentMotion(
                encoded,
                dataset.actions(
                    np.arange(dataset.episodes),
                    np.zeros(dataset.episodes, np.int64),
                    dataset.length,
                ),
            )
            for dataset, encoded in datasets
        ]
        fastest = self._dataset.worlds[0].max_speed
        one_step = median_step(latents, self._dataset.motion.actions, fastest)
        self._run(
            'predictor',
            self.model.predictor,
            lambda rng: predictor_loss(self.model, sources, one_step, rng),
            self._config.predictor_iterations,
            1e-3,
        )

    def decoder(self, latents: Tensor) -> None:
        """What people look at."""
        self._run(
            'decoder',
            self.model.decoder,
            lambda rng: decoder_loss(
                self.model, self._dataset, latents, self._config.batch, rng
            ),
            self._config.decoder_iterations,
            2e-3,
        )

    def manifold(self, latents: Tensor) -> None:
        """The denoiser that knows which latents are those of pictures."""
        self._run(
            'manifold',
            self.model.denoiser,
            lambda rng: denoiser_loss(self.model, latents, self._config.reach_batch, rng),
            self._config.manifold_iterations,
            1e-3,
        )

    def _label(self, latents: Tensor) -> ReachLabels:
        config, dataset = self._config, self._dataset
        rng = np.random.default_rng([config.seed, LABEL_STREAM])
        worlds = [TASKS[config.task].draw(rng) for _ in range(config.reach_graphs)]
        one_step = median_step(latents, dataset.motion.actions, worlds[0].max_speed)
        seed = config.seed + LABEL_STREAM
        return label(self.model, worlds, one_step, dataset.action_std, seed, config.near_door)

    def _world_model_parts(self) -> nn.ModuleList:
        parts = [self.model.encoder, self.model.predictor, self._inverse]
        if self._weights.reconstruction:
            parts.append(self.model.decoder)
        return nn.ModuleList(parts)

    def _world_model_loss(
        self, dataset: MotionDataset, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        batch = self._config.batch
        return world_model_loss(self.model, self._inverse, dataset, batch, self._weights, rng)

    def _run(
        self, name: str, parts: nn.Module, loss: Loss, iterations: int, learning_rate: float
    ) -> None:
        run_phase(
            name,
            parts,
            loss,
            iterations,
            learning_rate=learning_rate,
            seed=self._config.seed,
            folder=self._work,
        )


def decoder_loss(
    model: CompactModel,
    dataset: MotionDataset,
    latents: Tensor,
    batch: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Reconstruction error on random frames."""
    episode = rng.integers(0, dataset.episodes, batch)
    step = rng.integers(0, dataset.length + 1, batch)
    images = dataset.images(episode, step)
    return {'total': reconstruction_error(model, latents[episode, step], images)}
