"""The time that an iteration cannot do without: its work at the measured peak of the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from grasp_ros.models.compact.mlp import product
from grasp_ros.planning.cuda_graphs import wait_for

MATRIX = 1024
COPIED_FLOATS = 2**24


@dataclass(frozen=True)
class Peak:
    """What a device can do at most, as measured.

    Attributes:
        flops: of a square product of matrices, floating point operations per second.
        bytes: read and written by a copy, per second.
    """

    flops: float
    bytes: float


@cache
def peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """Measured on 1024 x 1024 matrices (the fastest kernel here) and a copy of 16 M elements."""
    matrix = torch.randn(MATRIX, MATRIX, device=device).to(dtype)
    source = torch.zeros(COPIED_FLOATS, device=device, dtype=dtype)
    target = torch.empty_like(source)

    def fastest(run: Callable[[], Any]) -> float:
        times = []
        for _ in range(12):
            wait_for(device)
            began = time.perf_counter()
            run()
            wait_for(device)
            times.append(time.perf_counter() - began)
        return statistics.median(sorted(times)[:6])

    multiplied = min(
        fastest(lambda: torch.mm(matrix, matrix)), fastest(lambda: product(matrix, matrix))
    )
    copied = fastest(lambda: target.copy_(source))
    return Peak(2 * MATRIX**3 / multiplied, 2 * source.nbytes / copied)


class _FlopCounter(TorchDispatchMode):
    """Counts by PyTorch's formulas; its own FlopCounterMode cannot watch torch.autograd.grad."""

    total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in _FORMULAS:
            self.total += _FORMULAS[packet](*args, **(kwargs or {}), out_val=outputs)
        return outputs


def counted_flops(run: Callable[[], Any]) -> int:
    """Floating point operations of all matrix products and attentions in `run`."""
    with _FlopCounter() as counter:
        run()
    return counter.total


def counted_bytes(modules: Sequence[nn.Module], variables: Sequence[Tensor]) -> int:
    """Bytes that have to move: weights read forward and backward, variables stepped by Adam.

    Activations are not counted: a kernel could keep them on the chip. Adam reads value, gradient
    and two moments, and writes value and moments.
    """
    weights = sum(tensor.nbytes for module in modules for tensor in module.parameters())
    return 2 * weights + 7 * sum(tensor.nbytes for tensor in variables)


def floor_ms(flops: int, bytes: int, peak: Peak) -> float:
    """The longer of computing and moving, ms."""
    return 1e3 * max(flops / peak.flops, bytes / peak.bytes)


def _linear_flops(inputs: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * len(inputs) * weight.numel()


def _attention_flops(query: Tensor, key: Tensor, *_: Any, **__: Any) -> int:
    return 4 * query.numel() * key.shape[-2]


def _attention_backward_flops(_: Tensor, query: Tensor, key: Tensor, *__: Any, **___: Any) -> int:
    return 10 * query.numel() * key.shape[-2]


def _formulas() -> dict[Any, Callable[..., int]]:
    """PyTorch's, and those that it lacks for kernels on the CPU."""
    formulas: dict[Any, Callable[..., int]] = dict(flop_registry)
    for library, name, formula in (
        (torch.ops.mkldnn, '_linear_pointwise', _linear_flops),
        (torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', _attention_flops),
        (
            torch.ops.aten,
            '_scaled_dot_product_flash_attention_for_cpu_backward',
            _attention_backward_flops,
        ),
    ):
        if hasattr(library, name):
            formulas[getattr(library, name)] = formula
    return formulas


_FORMULAS = _formulas()
