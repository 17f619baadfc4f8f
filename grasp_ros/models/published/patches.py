"""What world models on the patch tokens of a vision transformer share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.protocol import Observation
from grasp_ros.models.published.vision import VisionTransformer


class Embedding(nn.Module):
    """A linear map of a vector, stored as the convolution over time that it was trained as."""

    def __init__(self, components: int, width: int) -> None:
        """Build for vectors of so many components."""
        super().__init__()
        self.patch_embed = nn.Conv1d(components, width, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., components) to (..., width)."""
        return functional.linear(vectors, self.patch_embed.weight[..., 0], self.patch_embed.bias)


class PatchModel(nn.Module):
    """Pictures to patch tokens, each beside the embedded proprioception of its frame.

    The latent of a frame is (P, D): D is the width of the vision transformer and, after it, that
    of the embedded proprioception, the same in all tokens. Actions are no part of it. Goals are
    compared by the first `visual_width` components alone, since a goal is a picture.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(
        self,
        encoder: VisionTransformer,
        encoder_image_size: int,
        tokens: int,
        visual_width: int,
        proprioception: int,
        proprio_width: int,
    ) -> None:
        """Build with random weights.

        Args:
            encoder: gives a class token, which is left out, and `tokens` patch tokens.
            encoder_image_size: pictures of another side are resized to it, px.
            tokens: P.
            visual_width: components of a token of the encoder.
            proprioception: Q, components of the proprioception; 0 for none.
            proprio_width: components of its embedding.
        """
        super().__init__()
        self.encoder = encoder
        self.encoder_image_size = encoder_image_size
        self.visual_width = visual_width
        self.proprioception = proprioception
        width = visual_width + (proprio_width if proprioception else 0)
        self.latent_shape = (tokens, width)
        if proprioception:
            self.proprio_encoder = Embedding(proprioception, proprio_width)
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
        """Images (B, K, 3, h, w) in [0, 1] and proprioception (B, K, Q) to latents (B, K, P, D).

        Proprioception is normalised; one that is not observed, as that of a goal, is taken for
        the mean of the training data.

        Raises:
            ValueError: if the proprioception has another number of components.
        """
        images = observation.images.to(self.device, self.dtype)
        visual = self._see(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if not self.proprioception:
            return visual
        felt = observation.proprioception
        if felt is None:
            felt = visual.new_zeros(*images.shape[:2], self.proprioception)
        if felt.shape[-1] != self.proprioception:
            raise ValueError(
                f'proprioception has {felt.shape[-1]} components, but the model was trained with '
                f'{self.proprioception}'
            )
        embedded = self.proprio_encoder(felt.to(self.device, self.dtype))[:, :, None]
        return torch.cat([visual, embedded.expand(*visual.shape[:3], -1)], dim=-1)

    def _see(self, images: Tensor) -> Tensor:
        """Images (N, 3, h, w) in [0, 1] to patch tokens (N, P, D)."""
        normal = (images - self.image_mean[:, None, None]) / self.image_std[:, None, None]
        side = self.encoder_image_size
        if images.shape[-2:] != (side, side):
            normal = functional.interpolate(
                normal, size=(side, side), mode='bilinear', antialias=True
            )
        return self.encoder(normal)[:, 1:]
