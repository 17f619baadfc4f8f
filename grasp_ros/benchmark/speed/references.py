"""References of the speed tables: the per-step loop, the floor of the hardware, other models."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from grasp_ros.models.fast_kernels import linear
from grasp_ros.models.protocol import Observation
from grasp_ros.planning.cuda_graphs import wait_for
from grasp_ros.planning.objective import GoalDistance, squared_error
from grasp_ros.planning.problem import PlanProblem


def loop_loss(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    goal_weight: float,
) -> Tensor:
    """The lifted loss with stop-gradient, one prediction for each step.

    Args:
        distance: goal distance; its model predicts.
        problem: context (B, H, *Z) and goal (B, *Z).
        states: virtual states s_1 .. s_T (B, T, *Z), with gradients.
        actions: (B, T, A), with gradients.
        goal_weight: gamma.

    Returns:
        (B,) losses, equal to those of `lifted_gradients`.
    """
    model, history = distance.model, problem.context.shape[1]
    horizon, dims = actions.shape[1], len(distance.model.latent_shape)
    frames = list(problem.context.unbind(dim=1))
    taken = list(problem.past_actions.unbind(dim=1))
    total = actions.new_zeros(len(actions))
    for step in range(horizon):
        taken.append(actions[:, step])
        predicted = model.predict(
            torch.stack(frames[-history:], dim=1), torch.stack(taken[-history:], dim=1)
        )
        if step < horizon - 1 or distance.kind == 'latent':
            total = total + squared_error(predicted, states[:, step], dims)
        total = total + goal_weight * distance(predicted, problem.goal)
        frames.append(states[:, step].detach())
    return total


def loop_iteration(
    distance: GoalDistance,
    problem: PlanProblem,
    states: Tensor,
    actions: Tensor,
    optimiser: torch.optim.Optimizer,
    goal_weight: float,
) -> Tensor:
    """One optimiser step on states and actions (leaves with gradients); the losses (B,)."""
    optimiser.zero_grad(set_to_none=True)
    loss = loop_loss(distance, problem, states, actions, goal_weight)
    loss.sum().backward()
    if distance.kind == 'latent' and states.grad is not None:
        states.grad[:, -1] = 0.0
    optimiser.step()
    return loss.detach()


MATRIX = 1024
COPIED_FLOATS = 2**24


@dataclass(frozen=True)
class Peak:
    """Highest throughput of a device, as measured.

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
        fastest(lambda: torch.mm(matrix, matrix)), fastest(lambda: linear(matrix, matrix))
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


class RandomPredictor(nn.Module):
    """Base of models that predict, and see nothing."""

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
