"""DINO-WM (Zhou, Pan, LeCun, Pinto, arXiv 2411.04983): a transformer over DINOv2's patch tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from grasp_ros.models.published.transformer import (
    Embedding,
    FrameTransformer,
    PatchModel,
    VisionTransformer,
)


@dataclass(frozen=True)
class DinoWmConfig:
    """Sizes of a DINO-WM; the defaults are those of its Push-T model.

    Attributes:
        image_size: side of the square input image, px.
        encoder_image_size: side that it is resized to before it is encoded, px.
        patch: side of a patch, px.
        grid: side of the grid of patches that the encoder's positions were trained for.
        encoder_width: components of a token of the encoder.
        encoder_depth: layers of the encoder.
        encoder_heads: of its attention.
        history: frames that are predicted from.
        frames: frames that the predictor has positions for, at least `history`.
        action_dim: A.
        action_width: components of an embedded action.
        proprioception: Q, components of the proprioception; 0 for none.
        proprio_width: components of its embedding.
        depth: layers of the predictor.
        heads: of its attention.
        head_width: components of a head.
        hidden: width of its feed-forward layers.
    """

    cameras: ClassVar[int] = 1
    image_size: int = 224
    encoder_image_size: int = 196
    patch: int = 14
    grid: int = 37
    encoder_width: int = 384
    encoder_depth: int = 12
    encoder_heads: int = 6
    history: int = 3
    frames: int = 3
    action_dim: int = 10
    action_width: int = 10
    proprioception: int = 4
    proprio_width: int = 10
    depth: int = 6
    heads: int = 16
    head_width: int = 64
    hidden: int = 2048

    def __post_init__(self) -> None:
        """Check what layers alone would not notice.

        Raises:
            ValueError: if sizes do not fit each other.
        """
        if self.encoder_image_size % self.patch:
            raise ValueError(
                f'encoder_image_size {self.encoder_image_size} must be a multiple of patch '
                f'{self.patch}'
            )
        if not 1 <= self.history <= self.frames:
            raise ValueError(f'history {self.history} must be 1 to frames, {self.frames}')


class DinoWm(PatchModel):
    """The next frame's tokens from those of some frames, each beside its embedded action.

    In the predictor a token is, one after the other: the visual components, the embedded
    proprioception, the embedded action. The latents of this class lack the last of them, 196 x 394
    of 196 x 404 in the published models: an action is no part of a state, and what the predictor
    gives in its place is never used.
    """

    def __init__(self, config: DinoWmConfig) -> None:
        """Build with random weights drawn from torch's global generator."""
        tokens = (config.encoder_image_size // config.patch) ** 2
        super().__init__(
            VisionTransformer(
                config.encoder_width,
                config.encoder_depth,
                config.encoder_heads,
                config.patch,
                config.grid,
            ),
            config.encoder_image_size,
            tokens,
            config.encoder_width,
            config.proprioception,
            config.proprio_width,
        )
        self.config = config
        self.action_dim, self.history = config.action_dim, config.history
        self.action_encoder = Embedding(config.action_dim, config.action_width)
        self.predictor = FrameTransformer(
            self.latent_shape[1] + config.action_width,
            config.depth,
            config.heads,
            config.head_width,
            config.hidden,
            config.frames,
            tokens,
        )

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, H, P, D) and normalised actions (N, H, A) to the next latents (N, P, D)."""
        tokens, width = self.latent_shape
        embedded = self.action_encoder(actions)[:, :, None].expand(-1, -1, tokens, -1)
        return self.predictor(torch.cat([latents, embedded], dim=-1))[..., :width]
