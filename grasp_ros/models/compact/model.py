"""A compact world model that trains and plans on a CPU: one latent vector per image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.compact import mlp
from grasp_ros.models.protocol import Observation, Pullback, side_by_side


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of a compact model.

    Attributes:
        image_size: side of the square input image, px; a multiple of 16.
        latent_dim: elements of a latent that images show.
        action_dim: A.
        hidden: width of the predictor.
        channels: of the encoder's first layers; the last have twice as many.
        reach_groups: maxima averaged by the time-to-reach head.
        reach_group_size: components in each maximum.
        reach_hidden: width of that head.
        encoder_hidden: width of the encoder's last hidden layer.
        manifold_hidden: width of what knows the latents' manifold; 0 for a model without.
        keypoints: of the encoder; 0 for none.
        cameras: C; all of them share the encoder.
        proprioception: its components Q, which are the last ones of a latent; 0 for a model
            without.
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
    cameras: int = 1
    proprioception: int = 0


class CameraFusion(nn.Module):
    """One latent of the images of several cameras: each is encoded alike, then all together."""

    def __init__(self, encoder: nn.Module, cameras: int, latent_dim: int) -> None:
        """Wrap an encoder of images (N, 3, h, w) to latents (N, D)."""
        super().__init__()
        self.encoder = encoder
        self.fuse = nn.Sequential(nn.SiLU(), nn.Linear(cameras * latent_dim, latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Centred images (N, C, 3, h, w) to latents (N, D)."""
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.fuse(self.encoder(flat).unflatten(0, images.shape[:2]).flatten(1))


class CompactModel(nn.Module):
    """Convolutional encoder, residual MLP predictor, heads, and a decoder for people to look at.

    A latent is what the images show, and behind it the normalised proprioception, where there
    is any. In goals, which have none, that part is zero and never looked at: the latent distance
    leaves it out, and the time-to-reach head is told which of its ends is a goal.

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
        width = config.latent_dim + config.proprioception
        self.latent_shape = (width,)
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
        shape: tuple[int, ...] = (3, config.image_size, config.image_size)
        if config.cameras > 1:
            shape = (config.cameras, *shape)
        self.register_buffer('mean_image', torch.full(shape, 0.5))
        self.register_buffer('image_scale', torch.tensor(0.5))
        self.predictor = nn.Sequential(
            nn.Linear(width + config.action_dim, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, width),
        )
        embedding = config.reach_groups * config.reach_group_size
        self.reach_embedding = nn.Sequential(
            nn.Linear(width + (config.proprioception > 0), config.reach_hidden),
            nn.SiLU(),
            nn.Linear(config.reach_hidden, config.reach_hidden),
            nn.SiLU(),
            nn.Linear(config.reach_hidden, embedding),
        )
        self.decoder = nn.Sequential(
            nn.Linear(width, 256),
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
            nn.ConvTranspose2d(16, 3 * config.cameras, 4, stride=2, padding=1),
        )
        if config.manifold_hidden:
            self._add_denoiser(config)
        if config.keypoints:
            self.encoder = KeypointEncoder(self.encoder, config.keypoints, config.image_size // 4)
            self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.cameras > 1:
            self.encoder = CameraFusion(self.encoder, config.cameras, config.latent_dim)

    def _add_denoiser(self, config: CompactConfig) -> None:
        # Whatever else is drawn does not depend on whether there is a denoiser.
        with torch.random.fork_rng(devices=[]):
            self.denoiser = nn.Sequential(
                nn.Linear(self.latent_shape[0], config.manifold_hidden),
                nn.SiLU(),
                nn.Linear(config.manifold_hidden, config.manifold_hidden),
                nn.SiLU(),
                nn.Linear(config.manifold_hidden, self.latent_shape[0]),
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

    @property
    def visual_width(self) -> int:
        """Elements of a latent that images show; the others come from proprioception."""
        return self.config.latent_dim

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Observations of K frames to latents (B, K, D), without gradients."""
        images = observation.images.to(self.device, self.dtype)
        proprioception = observation.proprioception
        if proprioception is not None:
            proprioception = proprioception.to(self.device, self.dtype).flatten(0, 1)
        return self.embed(images.flatten(0, 1), proprioception).unflatten(0, images.shape[:2])

    def embed(self, images: Tensor, proprioception: Tensor | None = None) -> Tensor:
        """Images to latents (N, D), with gradients.

        Args:
            images: (N, 3, h, w) in [0, 1]; of several cameras (N, C, 3, h, w).
            proprioception: normalised (N, Q); None where there is none, as in goals.
        """
        centred = (images - self.mean_image) / self.image_scale
        if self.config.cameras == 1:
            centred = centred.contiguous(memory_format=torch.channels_last)
        latents = self.encoder(centred)
        if not self.config.proprioception:
            return latents
        if proprioception is None:
            proprioception = latents.new_zeros(len(latents), self.config.proprioception)
        return torch.cat([latents, proprioception.to(latents)], dim=-1)

    @torch.no_grad()
    def fit_images(self, images: Tensor) -> None:
        """Centre and scale inputs by the training images (N, 3, h, w) or (N, C, 3, h, w) in [0, 1].

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
        """Predict with the vector-Jacobian product; see `HasLinearisation`."""
        latest = latents[:, -1]
        outputs, pull = mlp.linearise(
            self.predictor, torch.cat([latest, actions[:, -1]], dim=-1)
        )

        def pullback(gradient: Tensor) -> tuple[Tensor, Tensor]:
            of_latents, of_actions = pull(gradient).split(
                [self.latent_shape[0], self.config.action_dim], dim=-1
            )
            return (of_latents + gradient)[:, None], of_actions[:, None]

        return latest + outputs, pullback

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Model steps from latents (..., D) to goals (..., D); leading shapes broadcast.

        Of a goal only what images show is looked at: to be there, whatever the proprioception.
        """
        if mlp.records_gradients():
            here, there = self._as_start(latents), self._as_goal(goal)
            gap = self.reach_embedding(here) - self.reach_embedding(there)
        else:
            # In one pass: rows are cheap, passes are not.
            ends, rows = self._both_ends(latents, goal)
            gap = self._gap(mlp.run(self.reach_embedding, ends), rows, latents, goal)
        shape = (self.config.reach_groups, self.config.reach_group_size)
        return functional.relu(gap).unflatten(-1, shape).amax(dim=-1).mean(dim=-1)

    @torch.no_grad()
    def time_to_reach_gradient(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Time to reach with its gradient; see `HasTimeToReachGradient`."""
        ends, rows = self._both_ends(latents, goal)
        embedded, pull = mlp.linearise(self.reach_embedding, ends)
        gap = self._gap(embedded, rows, latents, goal)
        groups, size = self.config.reach_groups, self.config.reach_group_size
        most, index = gap.view(rows, groups, size).max(dim=-1, keepdim=True)
        share = (most > 0).to(gap.dtype) / groups
        gradient = torch.zeros_like(embedded)
        gradient[:rows].view(rows, groups, size).scatter_(-1, index, share)
        distances = most.relu().mean(dim=(-1, -2)).view(latents.shape[:-1])
        of_latents = pull(gradient)[:rows]
        if self.config.proprioception:
            of_latents = of_latents[:, :-1]
        return distances, of_latents.reshape(latents.shape)

    def _as_start(self, latents: Tensor) -> Tensor:
        """Latents (..., D) as the head's input; with proprioception, (..., D + 1): no goal."""
        if not self.config.proprioception:
            return latents
        return functional.pad(latents, (0, 1))

    def _as_goal(self, goal: Tensor) -> Tensor:
        """Goals (..., D) as the head takes them; with proprioception (..., D + 1), without it."""
        width = self.config.proprioception
        if not width:
            return goal
        observed = functional.pad(goal[..., : self.config.latent_dim], (0, width))
        return functional.pad(observed, (0, 1), value=1.0)

    def _both_ends(self, latents: Tensor, goal: Tensor) -> tuple[Tensor, int]:
        """Latents (..., D) and goals (..., D) as rows (R + G, D or D + 1), and R."""
        size = self.latent_shape[0]
        first, second = latents.reshape(-1, size), goal.reshape(-1, size)
        return torch.cat([self._as_start(first), self._as_goal(second)]), len(first)

    @staticmethod
    def _gap(embedded: Tensor, rows: int, latents: Tensor, goal: Tensor) -> Tensor:
        """Differences (..., E) of the embeddings (R + G, E) of both ends."""
        here, there = embedded[:rows], embedded[rows:]
        return here.view(*latents.shape[:-1], -1) - there.view(*goal.shape[:-1], -1)

    @property
    def knows_manifold(self) -> bool:
        """Return whether the model knows latents of its training, for `off_manifold`."""
        return self.config.manifold_hidden > 0

    def off_manifold(self, latents: Tensor) -> Tensor:
        """Root-mean-square change by the denoiser (...) of latents (..., D), over its bound."""
        change = self.denoiser(latents)
        return (change.square().mean(dim=-1) + 1e-12).sqrt() / self.manifold_bound

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, D) to images (N, 3, h, w) in [0, 1], for people to look at.

        Those of several cameras stand side by side (N, 3, h, C w).
        """
        background = torch.logit(self.mean_image, eps=0.01)
        painted = self.decoder(latents)
        if self.config.cameras > 1:
            painted = painted.unflatten(1, (self.config.cameras, 3))
        return side_by_side(torch.sigmoid(background + painted))


STEM = 4
"""Layers of the plain encoder that the keypoints are found in: a quarter of the resolution."""
SPREAD = 2.0
"""Coordinates reach from minus to plus this, about what the other inputs of the layers do."""


class KeypointEncoder(nn.Module):
    """A convolutional encoder with keypoints: where each of some learned features is strongest.

    Each keypoint is the expected place of a softmax over a heat map (spatial softmax, Finn et al.,
    ICRA 2016). Flattened convolutions alone take long to learn where a small thing is.
    """

    grid: Tensor

    def __init__(self, plain: nn.Sequential, keypoints: int, cells: int) -> None:
        """Add keypoints to an encoder.

        Args:
            plain: convolutions, then flatten, linear, activation, linear.
            keypoints: how many.
            cells: side of the feature map after the first `STEM` layers.
        """
        super().__init__()
        last = [layer for layer in plain if isinstance(layer, nn.Conv2d)][1]
        first_linear, second_linear = (layer for layer in plain if isinstance(layer, nn.Linear))
        self.stem = plain[:STEM]
        self.features = plain[STEM : len(plain) - 3]
        self.hidden, self.output = first_linear, second_linear
        self.heat = nn.Conv2d(last.out_channels, keypoints, 3, padding=1)
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.to_hidden = nn.Linear(2 * keypoints, first_linear.out_features)
        self.to_output = nn.Linear(2 * keypoints, second_linear.out_features)
        centres = SPREAD * (2 * (torch.arange(cells) + 0.5) / cells - 1)
        grid = torch.cartesian_prod(centres, centres).flip(-1)
        self.register_buffer('grid', grid, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Centred images (N, 3, h, w) to latents (N, D)."""
        stem = self.stem(images)
        heat = self.heat(stem).flatten(2) * self.log_sharpness.exp()
        places = (heat.softmax(dim=-1) @ self.grid).flatten(1)
        hidden = functional.silu(self.hidden(self.features(stem)) + self.to_hidden(places))
        return self.output(hidden) + self.to_output(places)
