"""Two kernels that PyTorch does not document, each tried at import and with a public substitute.

A PyTorch in which one of them is missing, takes other arguments or computes something else is
slower, and plans all the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ONEDNN_MULTIPLICATIONS = 2**20
"""From so many on PyTorch's oneDNN kernel is the faster one for float32 (twice as fast on an AMD
processor with AVX-512, where the BLAS library of PyTorch keeps to AVX2)."""

ONEDNN_KERNELS_KEPT = 32
"""oneDNN compiles a kernel for each number of rows, so for each horizon, and would keep 1024: some
hundred MB. With 32 a solve takes as long."""

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as in torch.optim.Adam."""

ADAM_DEVICES = ('cpu', 'cuda')
"""Where the fused kernel exists, and is the same as the one that was tried."""

_log = logging.getLogger(__name__)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Inputs (N, in) times weight (out, in) transposed, plus bias; records no gradients."""
    if (
        HAS_ONEDNN
        and inputs.shape[0] * weight.numel() >= ONEDNN_MULTIPLICATIONS
        and inputs.dtype == torch.float32
        and inputs.device.type == 'cpu'
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
    ):
        return _onednn_linear(inputs, weight, bias)
    return functional.linear(inputs, weight, bias)


def adam_step(
    variable: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    steps: Tensor,
    rate: float | Tensor,
) -> None:
    """One step of Adam in place (Kingma & Ba, arXiv 1412.6980) that reads nothing back.

    Args:
        variable: to be moved; it records no gradients.
        gradient: of the variable's shape.
        first: running mean of the gradients, of the variable's shape.
        second: running mean of their squares, of the variable's shape.
        steps: made so far, this one included; float32 without dimensions, on the same device.
        rate: learning rate, a number or a tensor without dimensions on the same device.
    """
    gradient = gradient.to(variable.dtype)
    if HAS_FUSED_ADAM and variable.device.type in ADAM_DEVICES:
        # It reads gradients as if they had the strides of what they belong to.
        _fused_adam(variable, gradient.contiguous(), first, second, steps, rate)
    else:
        _public_adam(variable, gradient, first, second, steps, rate)


def _onednn_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, 'none', [], '')


def _fused_adam(
    variable: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    steps: Tensor,
    rate: float | Tensor,
) -> None:
    """The kernel of torch.optim.Adam(fused=True), whose own checks take longer than the step."""
    torch._fused_adam_(
        [variable],
        [gradient],
        [first],
        [second],
        [],
        [steps],
        lr=rate,
        beta1=FIRST_DECAY,
        beta2=SECOND_DECAY,
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def _public_adam(
    variable: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    steps: Tensor,
    rate: float | Tensor,
) -> None:
    first.lerp_(gradient, 1.0 - FIRST_DECAY)
    second.mul_(SECOND_DECAY).addcmul_(gradient, gradient, value=1.0 - SECOND_DECAY)
    exact = steps.double()  # 1 - 0.999 has few digits left in float32
    of_second = (1.0 - SECOND_DECAY**exact).sqrt()
    length = rate / (1.0 - FIRST_DECAY**exact)
    variable.sub_(length * first / (second.sqrt() / of_second + EPSILON))


def _agrees(name: str, matches: Callable[[], bool]) -> bool:
    """Return whether a kernel agrees with its public substitute in this PyTorch."""
    try:
        works, reason = matches(), 'it computes something else'
    except (AttributeError, RuntimeError, TypeError) as error:
        works, reason = False, str(error).partition('\n')[0]
    if not works:
        _log.info('PyTorch %s is used without its %s: %s', torch.__version__, name, reason)
    return works


def _onednn_matches() -> bool:
    inputs, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])
    return all(
        torch.allclose(
            _onednn_linear(inputs, weight, bias), functional.linear(inputs, weight, bias)
        )
        for bias in (None, torch.tensor([7.0]))
    )


@torch.no_grad()
def _fused_adam_matches() -> bool:
    """Two steps, with a number and a tensor as rate, against the public implementation."""
    for rate in (0.1, torch.tensor(0.1)):
        fused = [torch.tensor([1.0, -2.0, 3.0])] + [torch.zeros(3) for _ in range(2)]
        public = [tensor.clone() for tensor in fused]
        for steps in (torch.tensor(1.0), torch.tensor(2.0)):
            gradient = torch.tensor([0.5, -0.25, 0.0]) * steps
            for step, own in ((_fused_adam, fused), (_public_adam, public)):
                step(own[0], gradient, own[1], own[2], steps, rate)
        if not all(map(torch.allclose, fused, public)):
            return False
    return True


# Read by oneDNN when it is first used.
os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', str(ONEDNN_KERNELS_KEPT))
HAS_ONEDNN = _agrees('oneDNN product', _onednn_matches)
HAS_FUSED_ADAM = _agrees('fused Adam', _fused_adam_matches)
