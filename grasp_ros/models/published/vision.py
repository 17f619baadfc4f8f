"""A vision transformer whose weights are named as DINOv2's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INTERPOLATION_OFFSET = 0.1
"""Added to the side of the grid that DINOv2 interpolates positions to: part of its weights."""


class VisionTransformer(nn.Module):
    """Pictures to one class token and a token for each patch (Dosovitskiy et al., ICLR 2021)."""

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
