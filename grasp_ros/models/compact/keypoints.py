"""An encoder that knows where things are: keypoints beside features of the whole picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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
