"""Multilayer perceptrons whose weights are not trained: a fast pass, and its exact pullback."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from grasp_ros.models.fast_kernels import linear


def records_gradients() -> bool:
    """Return whether autograd, backward or forward, follows what is computed now."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


@torch.no_grad()
def linearise(layers: nn.Sequential, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Outputs of alternating Linear and SiLU layers, and their vector-Jacobian product.

    Args:
        layers: Linear, SiLU, .., Linear; the last is a Linear.
        inputs: (N, in).

    Returns:
        Outputs (N, out), and the function that maps a gradient in them (N, out) to the gradient
        in the inputs (N, in). Neither records gradients.
    """
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    before: list[Tensor] = []
    for layer in linears[:-1]:
        before.append(linear(inputs, layer.weight, layer.bias))
        inputs = functional.silu(before[-1])
    outputs = linear(inputs, linears[-1].weight, linears[-1].bias)

    @torch.no_grad()
    def pull(gradient: Tensor) -> Tensor:
        gradient = linear(gradient, linears[-1].weight.t())
        for layer, value in zip(reversed(linears[:-1]), reversed(before), strict=True):
            gradient = torch.ops.aten.silu_backward(gradient, value)
            gradient = linear(gradient, layer.weight.t())
        return gradient

    return outputs, pull


@torch.no_grad()
def run(layers: nn.Sequential, inputs: Tensor) -> Tensor:
    """Outputs (N, out) of the layers of `linearise`; records no gradients."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            inputs = linear(inputs, layer.weight, layer.bias)
        else:
            inputs = functional.silu(inputs, inplace=True)
    return inputs
