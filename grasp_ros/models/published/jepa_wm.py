"""JEPA-WM (arXiv 2512.24497): patch tokens whose predictor is steered by adaptive normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.published.transformer import PatchModel, VisionTransformer, frame_causal

EPSILON = 1e-6
AXES = 3
"""Of a token's place: frame, row, column."""
BASE = 10_000.0
"""Of the wavelengths of the rotations that tell places."""


@dataclass(frozen=True)
class JepaWmConfig:
    """Sizes of a JEPA-WM; the defaults are those of its Push-T model.

    Attributes:
        image_size: side of the square input image, px.
        patch: side of a patch, px.
        grid: side of the grid of patches that the encoder's positions were trained for.
        encoder_width: components of a token of the encoder.
        encoder_depth: layers of the encoder.
        encoder_heads: of its attention.
        history: frames that are predicted from.
        action_dim: A.
        proprioception: Q, components of the proprioception; 0 for none.
        proprio_width: components of its embedding.
        visual_width: components of the visual part of a token inside the predictor.
        depth: layers of the predictor.
        heads: of its attention.
        hidden: width of its feed-forward layers.
    """

    cameras: ClassVar[int] = 1
    image_size: int = 224
    patch: int = 14
    grid: int = 37
    encoder_width: int = 384
    encoder_depth: int = 12
    encoder_heads: int = 6
    history: int = 2
    action_dim: int = 10
    proprioception: int = 4
    proprio_width: int = 16
    visual_width: int = 384
    depth: int = 6
    heads: int = 16
    hidden: int = 1600

    @property
    def width(self) -> int:
        """Components of a token inside the predictor."""
        return self.visual_width + (self.proprio_width if self.proprioception else 0)

    def __post_init__(self) -> None:
        """Check what layers alone would not notice.

        Raises:
            ValueError: if sizes do not fit each other.
        """
        if self.image_size % self.patch:
            raise ValueError(f'image_size {self.image_size} must be a multiple of {self.patch}')
        if self.width % self.heads:
            raise ValueError(f'a token of {self.width} cannot be split into {self.heads} heads')


class JepaWm(PatchModel):
    """The next frame's tokens from those of some frames; actions scale and shift its layers."""

    def __init__(self, config: JepaWmConfig) -> None:
        """Build with random weights drawn from torch's global generator."""
        side = config.image_size // config.patch
        super().__init__(
            VisionTransformer(
                config.encoder_width,
                config.encoder_depth,
                config.encoder_heads,
                config.patch,
                config.grid,
            ),
            config.image_size,
            side * side,
            config.encoder_width,
            config.proprioception,
            config.proprio_width,
        )
        self.config = config
        self.action_dim, self.history = config.action_dim, config.history
        self.predictor = _Predictor(config, side)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, H, P, D) and normalised actions (N, H, A) to the next latents (N, P, D)."""
        return self.predictor(latents, actions, self.visual_width)


class _Predictor(nn.Module):
    cosine: Tensor
    sine: Tensor
    sees: Tensor

    def __init__(self, config: JepaWmConfig, side: int) -> None:
        super().__init__()
        self.inner_visual = config.visual_width
        self.tokens = side * side
        self.predictor_embed = nn.Linear(config.encoder_width, config.visual_width)
        self.action_encoder = nn.Linear(config.action_dim, config.width)
        self.predictor_blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.predictor_proj = nn.Linear(config.visual_width, config.encoder_width)
        angles = rotations(config.history, side, config.width // config.heads)
        self.register_buffer('cosine', angles.cos(), persistent=False)
        self.register_buffer('sine', angles.sin(), persistent=False)
        self.register_buffer(
            'sees', frame_causal(config.history, self.tokens), persistent=False
        )

    def forward(self, latents: Tensor, actions: Tensor, visual_width: int) -> Tensor:
        """Latents (N, H, P, D) and actions (N, H, A) to latents (N, P, D)."""
        visual, proprioception = latents[..., :visual_width], latents[..., visual_width:]
        tokens = torch.cat([self.predictor_embed(visual), proprioception], dim=-1).flatten(1, 2)
        conditions = self.action_encoder(actions)
        places = len(tokens[0])
        rotation = self.cosine[:places], self.sine[:places]
        sees = self.sees[:places, :places]
        for block in self.predictor_blocks[:-1]:
            tokens = block(tokens, conditions, rotation, sees, self.tokens)
        # Of the last layer, only what the newest frame becomes is asked for.
        last = self.predictor_blocks[-1]
        tokens = last(tokens, conditions, rotation, None, self.tokens, newest_only=True)
        tokens = self.predictor_norm(tokens)
        visual, proprioception = tokens[..., : self.inner_visual], tokens[..., self.inner_visual :]
        return torch.cat([self.predictor_proj(visual), proprioception], dim=-1)


class _Block(nn.Module):
    """Adaptive layer normalisation (Peebles & Xie, ICCV 2023) before attention and feed-forward."""

    def __init__(self, config: JepaWmConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = _Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = _Mlp(width, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(
        self,
        tokens: Tensor,
        conditions: Tensor,
        rotation: tuple[Tensor, Tensor],
        sees: Tensor | None,
        each: int,
        newest_only: bool = False,
    ) -> Tensor:
        """Tokens (N, H * P, D) and one condition a frame (N, H, D); `each` is P."""
        modulation = self.adaLN_modulation(conditions).repeat_interleave(each, dim=1)
        shift, scale, gate, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        last = each if newest_only else tokens.shape[1]
        attended = self.attn(self.norm1(tokens) * (1 + scale) + shift, rotation, sees, last)
        tokens = tokens[:, -last:] + gate[:, -last:] * attended
        modulated = self.norm2(tokens) * (1 + scale2[:, -last:]) + shift2[:, -last:]
        return tokens + gate2[:, -last:] * self.mlp(modulated)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, rotation: tuple[Tensor, Tensor], sees: Tensor | None, last: int
    ) -> Tensor:
        mixed = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, content = mixed.permute(2, 0, 3, 1, 4)
        query, key = rotate(query, *rotation)[:, :, -last:], rotate(key, *rotation)
        seen = functional.scaled_dot_product_attention(query, key, content, attn_mask=sees)
        return self.proj(seen.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


def rotations(frames: int, side: int, head_width: int) -> Tensor:
    """Angles (frames * side * side, R) by which the first R components of a head are turned.

    An equal, even share of the components goes to each axis; those left over are not turned.
    Within a share the frequencies are repeated as a whole, while `rotate` turns neighbours: the
    published weights were trained so.
    """
    share = 2 * (head_width // AXES // 2)
    frequencies = BASE ** -(torch.arange(share // 2) / (share / 2)).repeat(2)
    axes = [torch.arange(size, dtype=torch.float32) for size in (frames, side, side)]
    places = torch.cartesian_prod(*axes)
    return (places[..., None] * frequencies).flatten(1)


def rotate(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Vectors (..., L, D) with pairs of their first R components turned; angles are (L, R)."""
    turned, rest = vectors[..., : sine.shape[1]], vectors[..., sine.shape[1] :]
    pairs = turned.unflatten(-1, (-1, 2))
    beside = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return torch.cat([turned * cosine + beside * sine, rest], dim=-1)
