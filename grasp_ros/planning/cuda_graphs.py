"""Functions of tensors with fixed shapes, captured once as CUDA graphs and replayed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.protocol import Execution

WARM_UPS = 3
PROBLEM_TENSORS = (
    'context', 'past_actions', 'goal', 'action_low', 'action_high', 'stop_action'
)  # fmt: skip

Tensors = tuple[Tensor, ...]
Recorder = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
"""Runs a function and gives what repeats its work on the same memory, and its outputs there."""

_log = logging.getLogger(__name__)


class CudaGraphs:
    """Records functions as CUDA graphs that share their memory for intermediate results."""

    def __init__(self, device: torch.device | None = None) -> None:
        """Record nothing yet.

        Args:
            device: where functions run; None for the current one.
        """
        self._device = device
        self._pool: Any = None

    def __call__(self, function: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """Capture after a warm-up on a side stream, as PyTorch's notes on CUDA graphs ask for.

        Raises:
            Exception: whatever the function, PyTorch or CUDA raise.
        """
        # What another than the current device does would be missing in the graph, unnoticed.
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    function()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                outputs = function()
            self._pool = graph.pool()
        return graph.replay, outputs


class _Recorded:
    """A recorded function with the memory of its inputs and outputs."""

    def __init__(
        self, recorder: Recorder, function: Callable[..., Tensors], inputs: Tensors
    ) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._replay, self._outputs = recorder(lambda: function(*self._inputs))

    def __call__(self, *inputs: Tensor) -> Tensors:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._replay()
        return tuple(tensor.clone() for tensor in self._outputs)


class Executor:
    """Runs functions of tensors, recorded where they can be.

    Functions are recorded inside `recording` only, the first time that they run with inputs of
    their shapes; what was not recorded runs eagerly. The first failure ends all recording.
    """

    def __init__(self, recorder: Recorder | None = None, name: str = 'cuda graph') -> None:
        """Run with a recorder.

        Args:
            recorder: of a graph; None runs everything eagerly.
            name: of what it makes, for people.
        """
        self._recorder = recorder
        self._name = name
        self._recorded: dict[Hashable, Callable[..., Tensors]] = {}
        self._recording = False
        self._failure = ''

    @property
    def execution(self) -> Execution:
        """Execution of the functions: eager, or as what the recorder has made of them."""
        return Execution(self._name if self._recorded else Execution.mode, self._failure)

    @property
    def can_record(self) -> bool:
        """Return whether there is a recorder, and it has not failed."""
        return self._recorder is not None

    @property
    def recording_now(self) -> bool:
        """Return whether what runs now is recorded; its memory must then stay."""
        return self._recording and self._recorder is not None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what runs inside; what it computes then is not to be used."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def __call__(
        self, key: Hashable, function: Callable[..., Tensors], *inputs: Tensor
    ) -> Tensors:
        """The outputs of `function(*inputs)`.

        Args:
            key: of the function, the same for the same computation on other inputs.
            function: it reads tensors from its arguments only, or from memory that stays; it
                waits for nothing on the device.
            inputs: all on one device.
        """
        if self._recorder is None:
            return function(*inputs)
        full = (key, tuple((tensor.shape, tensor.dtype) for tensor in inputs))
        if full not in self._recorded and self._recording:
            self._record(full, function, inputs)
        return self._recorded.get(full, function)(*inputs)

    def _record(
        self, key: Hashable, function: Callable[..., Tensors], inputs: Tensors
    ) -> None:
        assert self._recorder is not None
        try:
            self._recorded[key] = _Recorded(self._recorder, function, inputs)
        except Exception as error:  # whatever a model, PyTorch or CUDA raise: it must still plan
            reason = (str(error).strip().splitlines() or [''])[0]
            self._failure = f'{type(error).__name__}: {reason}'
            self._recorder = None
            self._recorded.clear()
            _log.warning(
                'capturing the planner as a %s failed, planning is slower without: %s',
                self._name, self._failure, exc_info=True,
            )  # fmt: skip


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work, so that a clock read next means something."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class HostThrottle:
    """Keeps the host at most two steps ahead of a CUDA device, which stays busy meanwhile.

    Without it a deadline would be compared with how fast work is handed over, not with how fast
    it is done.
    """

    def __init__(self, device: torch.device) -> None:
        """Keep throttle with `device`; on a CPU there is nothing to do."""
        self._device = device
        self._events: deque[torch.cuda.Event] | None = (
            deque() if device.type == 'cuda' else None
        )

    def step(self) -> None:
        """Say that another step was handed over; waits where there are too many."""
        if self._events is None:
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._events.append(event)
        if len(self._events) > 2:
            self._events.popleft().synchronize()


def executor_for(device: torch.device, capture: bool) -> Executor:
    """CUDA graphs on a CUDA device if `capture`; elsewhere everything runs eagerly."""
    return Executor(CudaGraphs(device) if capture and device.type == 'cuda' else None)


def tensors_of(problem: PlanProblem) -> Tensors:
    """The tensors of a problem, as inputs of a recorded function."""
    return tuple(getattr(problem, name) for name in PROBLEM_TENSORS)


def with_tensors(problem: PlanProblem, tensors: Tensors) -> PlanProblem:
    """The problem with other tensors, in the order of `tensors_of`; all else stays."""
    named: dict[str, Any] = dict(zip(PROBLEM_TENSORS, tensors, strict=True))
    return replace(problem, **named)
