"""Parts of the transformers that published world models predict with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        """What each token takes from those that it sees.

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
