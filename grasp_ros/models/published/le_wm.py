"""LeWM of stable-worldmodel: one vector for an image, a transformer over the last few of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.protocol import Observation
from grasp_ros.models.published.transformer import (
    Attention,
    FeedForward,
    VisionTransformer,
    frame_causal,
)

EPSILON = 1e-12
"""Of the layer normalisations in the encoder."""


@dataclass(frozen=True)
class LeWmConfig:
    """Sizes of a LeWM; the defaults are those of its Push-T model.

    Attributes:
        image_size: side of the square input image, px.
        patch: side of a patch, px.
        encoder_width: components of a token of the encoder.
        encoder_depth: layers of the encoder.
        encoder_heads: of its attention.
        latent_dim: D.
        projector_hidden: width of the layers after encoder and predictor.
        history: frames that are predicted from.
        action_dim: A.
        action_smooth: components after the first layer for actions.
        action_hidden: after the second.
        depth: layers of the predictor.
        heads: of its attention.
        head_width: components of a head.
        hidden: width of its feed-forward layers.
    """

    cameras: ClassVar[int] = 1
    proprioception: ClassVar[int] = 0
    image_size: int = 224
    patch: int = 14
    encoder_width: int = 192
    encoder_depth: int = 12
    encoder_heads: int = 3
    latent_dim: int = 192
    projector_hidden: int = 2048
    history: int = 3
    action_dim: int = 10
    action_smooth: int = 10
    action_hidden: int = 768
    depth: int = 6
    heads: int = 16
    head_width: int = 64
    hidden: int = 2048


class LeWm(nn.Module):
    """Encoder, projector, predictor and projector of what it gives, each as it was trained.

    Batch normalisations keep the statistics of the training data: evaluation mode only.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: LeWmConfig) -> None:
        """Build with random weights drawn from torch's global generator."""
        super().__init__()
        self.config = config
        self.latent_shape = (config.latent_dim,)
        self.action_dim, self.history = config.action_dim, config.history
        self.encoder = VisionTransformer(
            config.encoder_width,
            config.encoder_depth,
            config.encoder_heads,
            config.patch,
            config.image_size // config.patch,
            layer_scale=False,
            epsilon=EPSILON,
        )
        hidden, latent = config.projector_hidden, config.latent_dim
        self.projector = _Projector(config.encoder_width, hidden, latent)
        self.predictor = _Predictor(config)
        self.pred_proj = _Projector(latent, hidden, latent)
        self.action_encoder = _ActionEncoder(config)
        self.register_buffer('image_mean', torch.full((3,), 0.5))
        self.register_buffer('image_std', torch.full((3,), 0.5))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image_mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of latents and actions."""
        return self.image_mean.dtype

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Images (B, K, 3, h, w) in [0, 1] to latents (B, K, D)."""
        images = observation.images.to(self.device, self.dtype)
        normal = (images - self.image_mean[:, None, None]) / self.image_std[:, None, None]
        tokens = self.encoder(normal.flatten(0, 1))
        return self.projector(tokens[:, 0]).unflatten(0, images.shape[:2])

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, H, D) and normalised actions (N, H, A) to the next latents (N, D)."""
        return self.pred_proj(self.predictor(latents, self.action_encoder(actions)))


class _Projector(nn.Module):
    def __init__(self, width: int, hidden: int, output: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, output)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        return self.net(vectors)


class _ActionEncoder(nn.Module):
    def __init__(self, config: LeWmConfig) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(config.action_dim, config.action_smooth, 1)
        self.embed = nn.Sequential(
            nn.Linear(config.action_smooth, config.action_hidden),
            nn.SiLU(),
            nn.Linear(config.action_hidden, config.latent_dim),
        )

    def forward(self, actions: Tensor) -> Tensor:
        weight, bias = self.patch_embed.weight[..., 0], self.patch_embed.bias
        return self.embed(functional.linear(actions, weight, bias))


class _Predictor(nn.Module):
    """A transformer over frames, each layer of which the embedded actions scale and shift."""

    sees: Tensor

    def __init__(self, config: LeWmConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(0.02 * torch.randn(1, config.history, config.latent_dim))
        self.transformer = _Layers(config)
        self.register_buffer('sees', frame_causal(config.history, 1), persistent=False)

    def forward(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """(N, H, D) and (N, H, D) to what the newest frame becomes (N, D)."""
        frames = latents.shape[1]
        tokens = latents + self.pos_embedding[:, :frames]
        return self.transformer(tokens, conditions, self.sees[:frames, :frames])[:, -1]


class _Layers(nn.Module):
    def __init__(self, config: LeWmConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.latent_dim)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))

    def forward(self, tokens: Tensor, conditions: Tensor, sees: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, conditions, sees)
        return self.norm(tokens)


class _Layer(nn.Module):
    """Adaptive layer normalisation (Peebles & Xie, ICCV 2023) before attention and feed-forward."""

    def __init__(self, config: LeWmConfig) -> None:
        super().__init__()
        width = config.latent_dim
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(width, config.heads, config.head_width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = FeedForward(width, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, tokens: Tensor, conditions: Tensor, sees: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(conditions).chunk(6, -1)
        attended = self.attn(self.norm1(tokens) * (1 + scale) + shift, sees)
        tokens = tokens + gate * attended
        return tokens + gate2 * self.mlp(self.norm2(tokens) * (1 + scale2) + shift2)
