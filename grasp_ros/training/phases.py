"""The phases of a training run, each of which resumes where it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.sim.registry import ROOMS
from grasp_ros.training.data.dataset import Dataset, draw_windows
from grasp_ros.training.data.simulated import MotionDataset
from grasp_ros.training.loop import EarlyStop, Log, Loss, finished, run_phase, share
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.losses.time_to_reach import (
    ReachLabels,
    graph_reach_loss,
    label,
    median_step,
    reach_loss,
)
from grasp_ros.training.losses.world_model import (
    LatentMotion,
    WorldModelWeights,
    inverse_heads,
    predictor_loss,
    reconstruction_error,
    world_model_loss,
)
from grasp_ros.training.recipes import TrainConfig

LABEL_STREAM, HELD_OUT_STREAM = 13, 17
"""Tell the randomness of labelled worlds and of held-out windows from that of the motion."""
PRECISIONS = {'float32': None, 'bfloat16': torch.bfloat16}
FITTED_IMAGES = 2000
HELD_OUT_BATCHES = 8
MIN_NOISE, MAX_NOISE = 0.05, 1.0
MANIFOLD_QUANTILE = 0.99
CALIBRATED = 20000


class Trainer:
    """A model in the making.

    Attributes:
        model: with random weights at first.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        work: Path,
        held_out: Dataset | None = None,
        log: Log | None = None,
        device: str = 'cpu',
    ) -> None:
        """Build the model.

        Args:
            config: settings.
            dataset: to train on.
            work: keeps the progress of all phases.
            held_out: judges when encoder and predictor stop early, if the settings ask for it.
            log: takes the loss terms.
            device: to train on.
        """
        self._config = config = replace(
            config, batch=share(config.batch), reach_batch=share(config.reach_batch)
        )
        self._dataset = dataset
        self._held_out = held_out
        self._work = work
        self._log = log
        images = _some_images(config, dataset)
        inputs = dataset.inputs
        space = inputs.proprioception
        torch.manual_seed(config.seed)
        self.model = CompactModel(
            CompactConfig(
                image_size=images.shape[-1],
                action_dim=dataset.action_dim,
                latent_dim=config.latent_dim,
                hidden=config.hidden,
                channels=config.channels,
                encoder_hidden=config.encoder_hidden,
                reach_hidden=config.reach_hidden,
                manifold_hidden=config.manifold_hidden,
                keypoints=config.keypoints,
                cameras=len(inputs.cameras),
                proprioception=space.size if space is not None and config.proprioception else 0,
            )
        )
        self._weights = WorldModelWeights(
            smoothness=config.smoothness,
            inverse_dynamics=config.inverse_dynamics,
            displacement=config.displacement,
            reconstruction=config.reconstruction,
            decoded=config.decoded,
        )
        self._inverse = inverse_heads(self.model, self._weights)
        self.model.fit_images(images)
        self.model.to(device)
        self._inverse.to(device)

    def world_model(self) -> None:
        """Encoder and predictor."""
        config, early_stop = self._config, None
        if self._held_out is not None and config.patience:
            early_stop = EarlyStop(self._held_out_loss, config.patience)
        self._run(
            'world_model',
            self._world_model_parts(),
            lambda rng: self._world_model_loss(self._dataset, rng),
            config.iterations,
            config.learning_rate,
            early_stop,
        )

    def _held_out_loss(self) -> float:
        assert self._held_out is not None
        seeds = [self._config.seed, HELD_OUT_STREAM]
        losses = [
            self._world_model_loss(self._held_out, np.random.default_rng([*seeds, batch]))
            for batch in range(HELD_OUT_BATCHES)
        ]
        return sum(float(terms['total']) for terms in losses) / len(losses)

    def finetune(self, driven: MotionDataset) -> None:
        """Encoder and predictor once more, every other batch from `driven`."""

        def loss(rng: np.random.Generator) -> dict[str, Tensor]:
            return self._world_model_loss(driven if rng.random() < 0.5 else self._dataset, rng)

        self._run(
            'finetune', self._world_model_parts(), loss, self._config.finetune_iterations, 2e-4
        )

    def time_to_reach(self, latents: EpisodeLatents, name: str = 'time_to_reach') -> None:
        """The head, on the latents of the data; `name` keeps its progress."""
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
        zero = torch.zeros((), device=self.model.device)
        weight = nn.ParameterDict({'log_weight': nn.Parameter(zero)})
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

    def predictor(self, latents: EpisodeLatents, driven: Dataset | None = None) -> None:
        """The predictor once more, on the latents of the data and those of `driven`."""
        span = self._config.predictor_span
        sources = [LatentMotion(latents, self._dataset, span)]
        if driven is not None:
            sources.append(LatentMotion(encode_all(self.model, driven), driven, span))
        one_step = median_step(latents, self._dataset.command_fractions())
        self._run(
            'predictor',
            self.model.predictor,
            lambda rng: predictor_loss(self.model, sources, one_step, rng),
            self._config.predictor_iterations,
            1e-3,
        )

    def decoder(self, latents: EpisodeLatents) -> None:
        """The decoder, for images that people look at."""
        self._run(
            'decoder',
            self.model.decoder,
            lambda rng: decoder_loss(
                self.model, self._dataset, latents, self._config.batch, rng
            ),
            self._config.decoder_iterations,
            2e-3,
        )

    def manifold(self, latents: EpisodeLatents) -> None:
        """The denoiser that knows which latents are those of images, and its bound."""
        self._run(
            'manifold',
            self.model.denoiser,
            lambda rng: denoiser_loss(self.model, latents, self._config.reach_batch, rng),
            self._config.manifold_iterations,
            1e-3,
        )
        calibrate_manifold(self.model, latents, np.random.default_rng(self._config.seed))

    def _label(self, latents: EpisodeLatents) -> ReachLabels:
        config, dataset = self._config, self._dataset
        if not isinstance(dataset, MotionDataset):
            raise ValueError('reach_graphs needs a simulated task')
        rng = np.random.default_rng([config.seed, LABEL_STREAM])
        worlds = [ROOMS[config.task].draw(rng) for _ in range(config.reach_graphs)]
        one_step = median_step(latents, dataset.command_fractions())
        seed = config.seed + LABEL_STREAM
        return label(self.model, worlds, one_step, dataset.action_std, seed, config.near_door)

    def _world_model_parts(self) -> nn.ModuleList:
        parts = [self.model.encoder, self.model.predictor, self._inverse]
        if self._weights.reconstruction:
            parts.append(self.model.decoder)
        return nn.ModuleList(parts)

    def _world_model_loss(self, dataset: Dataset, rng: np.random.Generator) -> dict[str, Tensor]:
        config = self._config
        return world_model_loss(
            self.model, self._inverse, dataset, config.batch, self._weights, rng, config.span
        )

    def _run(
        self,
        name: str,
        parts: nn.Module,
        loss: Loss,
        iterations: int,
        learning_rate: float,
        early_stop: EarlyStop | None = None,
    ) -> None:
        run_phase(
            name,
            parts,
            loss,
            iterations,
            learning_rate=learning_rate,
            seed=self._config.seed,
            folder=self._work,
            early_stop=early_stop,
            log=self._log,
            precision=PRECISIONS[self._config.precision],
        )


def _some_images(config: TrainConfig, dataset: Dataset) -> Tensor:
    """Images (N, 3, h, w), of several cameras (N, K, 3, h, w), from all over the data."""
    rng = np.random.default_rng(config.seed)
    if dataset.episodes < FITTED_IMAGES:
        return dataset.images(*draw_windows(dataset.lengths, 0, FITTED_IMAGES, rng))
    every = dataset.episodes // FITTED_IMAGES
    steps = rng.integers(0, dataset.lengths[0], dataset.episodes // every)
    chosen = np.arange(dataset.episodes)[::every][: len(steps)]
    return dataset.images(chosen, np.minimum(steps, dataset.lengths[chosen]))


def decoder_loss(
    model: CompactModel,
    dataset: Dataset,
    latents: EpisodeLatents,
    batch: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Reconstruction error on random frames."""
    episode, step = draw_windows(dataset.lengths, 0, batch, rng)
    images = dataset.images(episode, step).to(model.device)
    return {'total': reconstruction_error(model, latents.at(episode, step), images)}


def denoiser_loss(
    model: CompactModel, latents: EpisodeLatents, batch: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Squared error of the noise that the denoiser takes away.

    Args:
        model: its denoiser is trained.
        latents: of recorded motion.
        batch: latents in an iteration.
        rng: draws them, and noise of log-uniform strength.
    """
    flat = latents.flat
    clean = flat[rng.integers(0, len(flat), batch)]
    strength = np.exp(rng.uniform(np.log(MIN_NOISE), np.log(MAX_NOISE), (batch, 1)))
    noise = torch.from_numpy(strength * rng.standard_normal(clean.shape)).to(clean)
    weight = torch.from_numpy(strength**-1).to(clean)
    error = model.denoiser(clean + noise) + noise
    return {'total': (weight * error.square()).mean()}


@torch.no_grad()
def calibrate_manifold(
    model: CompactModel, latents: EpisodeLatents, rng: np.random.Generator
) -> None:
    """Set the bound to what one in a hundred latents of motion exceeds."""
    flat = latents.flat
    chosen = flat[rng.integers(0, len(flat), CALIBRATED)]
    model.manifold_bound.fill_(1.0)
    model.manifold_bound.copy_(torch.quantile(model.off_manifold(chosen), MANIFOLD_QUANTILE))
