"""Multilayer perceptrons whose weights are not trained: a fast pass, and its exact pullback."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

ONEDNN_MULTIPLICATIONS = 2**20
"""From so many on PyTorch's oneDNN kernel is the faster one for float32 (twice as fast on an AMD
processor with AVX-512, where the BLAS library of PyTorch keeps to AVX2)."""

ONEDNN_KERNELS_KEPT = 32
"""oneDNN compiles a kernel for each number of rows, so for each horizon, and would keep 1024: some
hundred MB. With 32 a solve takes as long."""


def records_gradients() -> bool:
    """Whether autograd, backward or forward, follows what is computed now."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Inputs (N, in) times weight (out, in) transposed, plus bias; records no gradients."""
    if (
        _ONEDNN
        and inputs.shape[0] * weight.numel() >= ONEDNN_MULTIPLICATIONS
        and inputs.dtype == torch.float32
        and inputs.device.type == 'cpu'
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
    ):
        return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, 'none', [], '')
    return functional.linear(inputs, weight, bias)


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
    for linear in linears[:-1]:
        before.append(product(inputs, linear.weight, linear.bias))
        inputs = functional.silu(before[-1])
    outputs = product(inputs, linears[-1].weight, linears[-1].bias)

    @torch.no_grad()
    def pull(gradient: Tensor) -> Tensor:
        gradient = product(gradient, linears[-1].weight.t())
        for linear, value in zip(reversed(linears[:-1]), reversed(before), strict=True):
            gradient = torch.ops.aten.silu_backward(gradient, value)
            gradient = product(gradient, linear.weight.t())
        return gradient

    return outputs, pull


@torch.no_grad()
def run(layers: nn.Sequential, inputs: Tensor) -> Tensor:
    """Outputs (N, out) of the layers of `linearise`; records no gradients."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            inputs = product(inputs, layer.weight, layer.bias)
        else:
            inputs = functional.silu(inputs, inplace=True)
    return inputs


def _onednn_works() -> bool:
    """Whether the kernel exists in this PyTorch: it is no documented part of it."""
    one = torch.ones(1, 1)
    try:
        return bool(torch.ops.mkldnn._linear_pointwise(one, one, None, 'none', [], '') == 1)
    except (AttributeError, RuntimeError, TypeError):
        return False


# Read by oneDNN when it is first used.
os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', str(ONEDNN_KERNELS_KEPT))
_ONEDNN = _onednn_works()
