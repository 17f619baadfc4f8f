"""Training in several processes that `torchrun` starts: one on each GPU, or on several machines.

Each process draws windows of its own, its share of the batch; gradients are averaged by PyTorch's
DistributedDataParallel. The first process alone writes files and prints.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch import distributed


@contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the other processes where `torchrun` started this one.

    Args:
        device: to train on; `cuda` becomes the GPU of this process.

    Yields:
        The device of this process.
    """
    if not started_by_torchrun():
        yield device
        return
    on_gpu = device.startswith('cuda')
    if on_gpu:
        device = f'cuda:{os.environ["LOCAL_RANK"]}'
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if on_gpu else 'gloo')
    try:
        with ExitStack() as stack:
            if number():
                silence = stack.enter_context(Path(os.devnull).open('w'))
                stack.enter_context(redirect_stdout(silence))
            yield device
    finally:
        distributed.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether there are other processes, or could be."""
    return 'TORCHELASTIC_RUN_ID' in os.environ


def several() -> bool:
    """Whether other processes train, too."""
    return distributed.is_available() and distributed.is_initialized()


def number() -> int:
    """Of this process; the first one is 0."""
    return distributed.get_rank() if several() else 0


def share(batch: int) -> int:
    """This process's part of a batch, at least one."""
    return max(1, batch // distributed.get_world_size()) if several() else batch


def wait_for_all() -> None:
    """Return when all processes have come here."""
    if several():
        distributed.barrier()


def of_the_first(value: float) -> float:
    """What the first process says: all must decide alike."""
    if not several():
        return value
    said = [value]
    distributed.broadcast_object_list(said, src=0)
    return said[0]
