"""Transformers as published checkpoints name them: the vision encoder, the predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.protocol import Observation


class Attention(nn.Module):
    """Self-attention after a layer normalisation, as in DINO-WM and LeWM."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        """Build for tokens of `width` components."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_width, width))

    def forward(self, tokens: Tensor, sees: Tensor | None, last: int | None = None) -> Tensor:
        """Attention: what each token takes from those that it sees.

        Args:
            tokens: (N, L, D).
            sees: bool (L, L), whether the token of the row sees that of the column; None for all.
            last: ask for the last so many tokens only; None for all.

        Returns:
            (N, L or `last`, D).
        """
        mixed = self.to_qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, content = mixed.permute(2, 0, 3, 1, 4)
        if last is not None:
            query = query[:, :, -last:]
            sees = None if sees is None else sees[-last:]
        seen = functional.scaled_dot_product_attention(query, key, content, attn_mask=sees)
        return self.to_out(seen.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """A layer normalisation and two layers with a GELU between them, for each token."""

    def __init__(self, width: int, hidden: int) -> None:
        """Build for tokens of `width` components."""
        super().__init__()
        # The places of layers in published checkpoints, dropout (inactive) at 3.
        self.net = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(hidden, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, D) to the same."""
        return self.net(tokens)


def frame_causal(frames: int, tokens: int) -> Tensor:
    """Bool (frames * tokens, the same): a token sees those of its frame and of earlier ones."""
    frame = torch.arange(frames).repeat_interleave(tokens)
    return frame[:, None] >= frame[None]


class FrameTransformer(nn.Module):
    """The predictor of DINO-WM: a transformer over the tokens of several frames.

    Each token sees all of its frame and of those before.
    """

    sees: Tensor

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        hidden: int,
        frames: int,
        tokens: int,
    ) -> None:
        """Build with random weights.

        Args:
            width: D, components of a token.
            depth: layers.
            heads: of the attention.
            head_width: components of a head.
            hidden: width of the feed-forward layers.
            frames: at most so many.
            tokens: in each frame.
        """
        super().__init__()
        self.tokens = tokens
        self.pos_embedding = nn.Parameter(0.02 * torch.randn(1, frames * tokens, width))
        self.transformer = _Layers(width, depth, heads, head_width, hidden)
        self.register_buffer('sees', frame_causal(frames, tokens), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Tokens (N, H, P, D) of H frames to those of the frame after (N, P, D)."""
        tokens = frames.flatten(1, 2) + self.pos_embedding[:, : frames.shape[1] * self.tokens]
        sees = self.sees[: tokens.shape[1], : tokens.shape[1]] if frames.shape[1] > 1 else None
        return self.transformer(tokens, sees, self.tokens)


class _Layers(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, heads, head_width), FeedForward(width, hidden)])
            for _ in range(depth)
        )

    def forward(self, tokens: Tensor, sees: Tensor | None, newest: int) -> Tensor:
        """Tokens (N, L, D) to the last `newest` of them (N, P, D), which see all others."""
        layers = [(pair[0], pair[1]) for pair in self.layers]  # type: ignore[index]
        for attend, feed in layers[:-1]:
            tokens = tokens + attend(tokens, sees)
            tokens = tokens + feed(tokens)
        attend, feed = layers[-1]
        tokens = tokens[:, -newest:] + attend(tokens, None, last=newest)
        return self.norm(tokens + feed(tokens))


INTERPOLATION_OFFSET = 0.1
"""Added to the side of the grid that DINOv2 interpolates positions to: part of its weights."""


class VisionTransformer(nn.Module):
    """Images to one class token and a token for each patch (Dosovitskiy et al., ICLR 2021)."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        grid: int,
        *,
        layer_scale: bool = True,
        epsilon: float = 1e-6,
    ) -> None:
        """Build with random weights.

        Args:
            width: D, components of a token.
            depth: layers.
            heads: of the attention.
            patch: side of a patch, px.
            grid: side of the grid of patches that positions were trained for.
            layer_scale: whether each layer scales what it adds, as DINOv2's do.
            epsilon: of the layer normalisations.
        """
        super().__init__()
        self.grid = grid
        self.patch_embed = _PatchEmbedding(width, patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + grid * grid, width))
        self.blocks = nn.ModuleList(
            _Block(width, heads, layer_scale, epsilon) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, h, w) to tokens (N, 1 + P, D), the class token first.

        h and w must be whole numbers of patches.
        """
        patches = self.patch_embed(images)
        rows, columns = patches.shape[-2:]
        cls = self.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self._positions(rows, columns)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Positions (1, 1 + rows * columns, D), interpolated where the grid is another one."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        trained = self.pos_embed[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        scale = [(side + INTERPOLATION_OFFSET) / self.grid for side in (rows, columns)]
        here = functional.interpolate(trained, scale_factor=scale, mode='bicubic')
        return torch.cat([self.pos_embed[:, :1], here.flatten(2).transpose(1, 2)], dim=1)


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, layer_scale: bool, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, content = mixed.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, content)
        return self.proj(seen.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gamma * tokens


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
    """Images to patch tokens, each beside the embedded proprioception of its frame.

    The latent of a frame is (P, D): D is the width of the vision transformer and, after it, that
    of the embedded proprioception, the same in all tokens. Actions are no part of it. Goals are
    compared by the first `visual_width` components alone, since a goal is an image.
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
            encoder_image_size: images of another side are resized to it, px.
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
        proprioception = observation.proprioception
        if proprioception is None:
            proprioception = visual.new_zeros(*images.shape[:2], self.proprioception)
        if proprioception.shape[-1] != self.proprioception:
            raise ValueError(
                f'proprioception has {proprioception.shape[-1]} components, but the model was '
                f'trained with {self.proprioception}'
            )
        embedded = self.proprio_encoder(proprioception.to(self.device, self.dtype))[:, :, None]
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
