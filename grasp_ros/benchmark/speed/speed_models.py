"""Predictors with random weights and the sizes of published world models, to time planners on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_ros.models.protocol import Observation


class RandomPredictor(nn.Module):
    """What these models share: they predict, and see nothing."""

    latent_shape: tuple[int, ...]
    action_dim: int
    history: int

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def encode(self, observation: Observation) -> Tensor:
        """Raise NotImplementedError: there is no encoder."""
        raise NotImplementedError('a model with random weights sees nothing')


class MlpPredictor(RandomPredictor):
    """Residual blocks on one latent vector, as in compact-latent world models."""

    history = 1

    def __init__(self, width: int = 192, blocks: int = 4, action_dim: int = 10) -> None:
        """Build with random weights drawn from torch's global generator."""
        super().__init__()
        self.latent_shape, self.action_dim = (width,), action_dim
        self.mix = nn.Linear(width + action_dim, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(blocks)
        )
        self.requires_grad_(False)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See WorldModel."""
        value = self.mix(torch.cat([latents[:, -1], actions[:, -1]], dim=-1))
        for block in self.blocks:
            value = value + block(value)
        return value


class PatchPredictor(RandomPredictor):
    """A transformer over the patch tokens of several frames, with the sizes of DINO-WM's.

    Zhou, Pan, LeCun, Pinto: "DINO-WM", arXiv 2411.04983: depth 6, 16 heads of 64, MLP 2048, three
    frames of 196 patches; a frame sees itself and those before. The last channels of each token
    hold the embedded action.
    """

    sees: Tensor

    def __init__(
        self,
        patches: int = 196,
        width: int = 404,
        depth: int = 6,
        heads: int = 16,
        head_width: int = 64,
        hidden: int = 2048,
        history: int = 3,
        action_dim: int = 10,
    ) -> None:
        """Build with random weights drawn from torch's global generator."""
        super().__init__()
        self.latent_shape, self.action_dim, self.history = (patches, width), action_dim, history
        self.heads = heads
        self.embed_action = nn.Linear(action_dim, 10)
        self.position = nn.Parameter(0.02 * torch.randn(history * patches, width))
        inner = heads * head_width
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    'before_attention': nn.LayerNorm(width),
                    'inputs': nn.Linear(width, 3 * inner, bias=False),
                    'outputs': nn.Linear(inner, width),
                    'feed_forward': nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, hidden),
                        nn.GELU(),
                        nn.Linear(hidden, width),
                    ),
                }
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        frame = torch.arange(history).repeat_interleave(patches)
        self.register_buffer('sees', frame[:, None] >= frame[None])
        self.requires_grad_(False)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See WorldModel."""
        patches, width = self.latent_shape
        embedded = self.embed_action(actions)[:, :, None].expand(-1, -1, patches, -1)
        tokens = torch.cat([latents[..., : width - embedded.shape[-1]], embedded], dim=-1)
        value = tokens.flatten(1, 2) + self.position
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            mixed = layer['inputs'](layer['before_attention'](value))
            query, key, content = mixed.unflatten(-1, (3, self.heads, -1)).unbind(dim=2)
            seen = functional.scaled_dot_product_attention(
                query.transpose(1, 2),
                key.transpose(1, 2),
                content.transpose(1, 2),
                attn_mask=self.sees,
            )
            value = value + layer['outputs'](seen.transpose(1, 2).flatten(2))
            value = value + layer['feed_forward'](value)
        return self.norm(value[:, -patches:])
