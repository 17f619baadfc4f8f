"""A compact world model that trains and plans on a CPU: one latent vector per picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.core.types import Observation
from grasp_ros.core.world_model import Pullback
from grasp_ros.models import mlp
from grasp_ros.models.keypoints import KeypointEncoder


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of a compact model.

    Attributes:
        image_size: side of the square input picture, px; a multiple of 16.
        latent_dim: D.
        action_dim: A.
        hidden: width of the predictor.
        channels: of the encoder's first layers; the last have twice as many.
        reach_groups: maxima averaged by the time-to-reach head.
        reach_group_size: components in each maximum.
        reach_hidden: width of that head.
        encoder_hidden: width of the encoder's last hidden layer.
        manifold_hidden: width of what knows the latents' manifold; 0 for a model without.
        keypoints: of the encoder; 0 for none.
    """

    image_size: int = 64
    latent_dim: int = 32
    action_dim: int = 2
    hidden: int = 384
    channels: int = 16
    reach_groups: int = 8
    reach_group_size: int = 16
    reach_hidden: int = 256
    encoder_hidden: int = 128
    manifold_hidden: int = 0
    keypoints: int = 0


class CompactModel(nn.Module):
    """Convolutional encoder, residual MLP predictor, heads, and a decoder for people to look at.

    The time-to-reach head is a quasimetric, d(x, y) = mean_k max_j relu(phi(x) - phi(y)): never
    negative, zero from a state to itself, obeying the triangle inequality (Wang et al., ICML
    2023). The manifold of latents is where a denoiser changes nothing (Alain & Bengio, JMLR 15,
    2014).
    """

    history = 1
    mean_image: Tensor
    image_scale: Tensor
    manifold_bound: Tensor

    def __init__(self, config: CompactConfig) -> None:
        """Build with random weights drawn from torch's global generator."""
        super().__init__()
        self.config = config
        self.latent_shape = (config.latent_dim,)
        self.action_dim = config.action_dim
        wide, side = 2 * config.channels, config.image_size // 16
        self.encoder: nn.Module = nn.Sequential(
            nn.Conv2d(3, config.channels, 6, stride=4, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.channels, config.channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.channels, wide, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(wide, wide, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(wide * side * side, config.encoder_hidden),
            nn.SiLU(),
            nn.Linear(config.encoder_hidden, config.latent_dim),
        )
        # channels_last: twice as fast on a CPU.
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        picture = (3, config.image_size, config.image_size)
        self.register_buffer('mean_image', torch.full(picture, 0.5))
        self.register_buffer('image_scale', torch.tensor(0.5))
        self.predictor = nn.Sequential(
            nn.Linear(config.latent_dim + config.action_dim, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.latent_dim),
        )
        embedding = config.reach_groups * config.reach_group_size
        self.reach_embedding = nn.Sequential(
            nn.Linear(config.latent_dim, config.reach_hidden),
            nn.SiLU(),
            nn.Linear(config.reach_hidden, config.reach_hidden),
            nn.SiLU(),
            nn.Linear(config.reach_hidden, embedding),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_dim, 256),
            nn.SiLU(),
            nn.Linear(256, wide * side * side),
            nn.SiLU(),
            nn.Unflatten(1, (wide, side, side)),
            nn.ConvTranspose2d(wide, wide, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(wide, config.channels, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(config.channels, 16, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
        )
        if config.manifold_hidden:
            self._add_denoiser(config)
        if config.keypoints:
            self.encoder = KeypointEncoder(self.encoder, config.keypoints, config.image_size // 4)
            self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _add_denoiser(self, config: CompactConfig) -> None:
        # Whatever else is drawn does not depend on whether there is a denoiser.
        with torch.random.fork_rng(devices=[]):
            self.denoiser = nn.Sequential(
                nn.Linear(config.latent_dim, config.manifold_hidden),
                nn.SiLU(),
                nn.Linear(config.manifold_hidden, config.manifold_hidden),
                nn.SiLU(),
                nn.Linear(config.manifold_hidden, config.latent_dim),
            )
        self.register_buffer('manifold_bound', torch.ones(()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of latents and actions."""
        return next(self.parameters()).dtype

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Images (B, K, 3, h, w) in [0, 1] to latents (B, K, D), without gradients."""
        images = observation.images.to(self.device, self.dtype)
        return self.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 3, h, w) in [0, 1] to latents (N, D), with gradients."""
        centred = (images - self.mean_image) / self.image_scale
        return self.encoder(centred.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def fit_images(self, images: Tensor) -> None:
        """Centre and scale inputs by the training images (N, 3, h, w) in [0, 1].

        A static background would otherwise hide the few pixels that move: without this the
        encoder stays collapsed for the first hundreds of iterations.
        """
        self.mean_image.copy_(images.mean(dim=0))
        self.image_scale.copy_((images - self.mean_image).square().mean().sqrt())

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, 1, D) and normalised actions (N, 1, A) to the next latents (N, D)."""
        latest = latents[:, -1]
        inputs = torch.cat([latest, actions[:, -1]], dim=-1)
        if mlp.records_gradients():
            return latest + self.predictor(inputs)
        return latest + mlp.run(self.predictor, inputs)

    @torch.no_grad()
    def linearise(self, latents: Tensor, actions: Tensor) -> tuple[Tensor, Pullback]:
        """See HasLinearisation."""
        latest = latents[:, -1]
        outputs, pull = mlp.linearise(
            self.predictor, torch.cat([latest, actions[:, -1]], dim=-1)
        )

        def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
            of_latents, of_actions = pull(gradient).split(
                [self.config.latent_dim, self.config.action_dim], dim=-1
            )
            return (of_latents + gradient)[:, None], of_actions[:, None]

        return latest + outputs, pullback

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Model steps from latents (..., D) to goals (..., D); leading shapes broadcast."""
        if mlp.records_gradients():
            gap = self.reach_embedding(latents) - self.reach_embedding(goal)
        else:
            # In one pass: rows are cheap, passes are not.
            ends, rows = self._both_ends(latents, goal)
            gap = self._gap(mlp.run(self.reach_embedding, ends), rows, latents, goal)
        shape = (self.config.reach_groups, self.config.reach_group_size)
        return functional.relu(gap).unflatten(-1, shape).amax(dim=-1).mean(dim=-1)

    @torch.no_grad()
    def time_to_reach_gradient(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """See HasTimeToReachGradient."""
        ends, rows = self._both_ends(latents, goal)
        embedded, pull = mlp.linearise(self.reach_embedding, ends)
        gap = self._gap(embedded, rows, latents, goal)
        groups, size = self.config.reach_groups, self.config.reach_group_size
        most, index = gap.view(rows, groups, size).max(dim=-1, keepdim=True)
        share = (most > 0).to(gap.dtype) / groups
        gradient = torch.zeros_like(embedded)
        gradient[:rows].view(rows, groups, size).scatter_(-1, index, share)
        distances = most.relu().mean(dim=(-1, -2)).view(latents.shape[:-1])
        return distances, pull(gradient)[:rows].view(latents.shape)

    def _both_ends(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, int]:
        """Latents (..., D) and goals (..., D) as rows (R + G, D), and R."""
        size = self.config.latent_dim
        first, second = latents.reshape(-1, size), goal.reshape(-1, size)
        return torch.cat([first, second]), len(first)

    @staticmethod
    def _gap(embedded: Tensor, rows: int, latents: Tensor, goal: Tensor) -> Tensor:
        """Differences (..., E) of the embeddings (R + G, E) of both ends."""
        here, there = embedded[:rows], embedded[rows:]
        return here.view(*latents.shape[:-1], -1) - there.view(*goal.shape[:-1], -1)

    @property
    def knows_manifold(self) -> bool:
        """Whether `off_manifold` can be asked."""
        return self.config.manifold_hidden > 0

    def off_manifold(self, latents: Tensor) -> Tensor:
        """Root-mean-square change by the denoiser (...) of latents (..., D), over its bound."""
        change = self.denoiser(latents)
        return (change.square().mean(dim=-1) + 1e-12).sqrt() / self.manifold_bound

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, D) to pictures (N, 3, h, w) in [0, 1], for people to look at."""
        background = torch.logit(self.mean_image, eps=0.01)
        return torch.sigmoid(background + self.decoder(latents))
