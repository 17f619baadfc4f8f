"""A training phase that shows its progress, survives Ctrl-C and resumes where it stopped."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

SAVE_EVERY_S = 60.0
LOG_EVERY = 50

Loss = Callable[[np.random.Generator], Mapping[str, Tensor]]
Log = Callable[[str, int, Mapping[str, float]], None]
"""Takes the name of the phase, the iteration and the loss terms."""


@dataclass
class EarlyStop:
    """Ends a phase where held-out data gain nothing any more, and goes back to its best weights.

    Attributes:
        loss: of the held-out data, with the present weights.
        patience: evaluations in a row without gain.
        every: iterations between evaluations.
    """

    loss: Callable[[], float]
    patience: int
    every: int = 250
    best: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    without_gain: int = 0

    @property
    def due(self) -> bool:
        """True when it is time to end."""
        return self.without_gain >= self.patience

    @torch.no_grad()
    def judge(self, modules: nn.Module) -> float:
        """Evaluate, and keep the weights where they are the best so far."""
        loss = of_the_first(self.loss())
        self.without_gain += 1
        if loss < self.best:
            self.best, self.without_gain = loss, 0
            self.best_weights = {
                name: value.clone() for name, value in modules.state_dict().items()
            }
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State that resumes it."""
        return {
            'best': self.best,
            'best_weights': self.best_weights,
            'without_gain': self.without_gain,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.best, self.without_gain = state['best'], state['without_gain']
        self.best_weights = state['best_weights']


def run_phase(
    name: str,
    modules: nn.Module,
    loss: Loss,
    iterations: int,
    *,
    learning_rate: float,
    seed: int,
    folder: Path,
    early_stop: EarlyStop | None = None,
    log: Log | None = None,
    precision: torch.dtype | None = None,
) -> None:
    """Minimise `loss` with AdamW and a cosine schedule; a finished phase returns at once.

    Each iteration's randomness derives from (seed, iteration) alone, so that a resumed run makes
    the same steps as an uninterrupted one; with several processes, from the process's number, too.

    Args:
        name: of the phase; its progress is kept in `folder`/`name`.pt.
        modules: everything that is trained or must be restored.
        loss: terms for one batch; 'total' is minimised.
        iterations: optimiser steps.
        learning_rate: at the start; it ends near zero.
        seed: of all randomness.
        folder: where progress is kept.
        early_stop: ends the phase before; None for all iterations.
        log: takes the loss terms now and then.
        precision: of what autocast covers; None for that of the weights.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after progress has been saved.
    """
    path = folder / f'{name}.pt'
    trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=learning_rate, total_steps=iterations + 1, pct_start=0.05
    )
    parts: dict[str, Any] = {'modules': modules, 'optimiser': optimiser, 'schedule': schedule}
    if early_stop is not None:
        parts['early_stop'] = early_stop
    device = trained[0].device.type
    step: nn.Module = _Step(modules, loss)
    own_stream: list[int] = []
    if several():
        own_stream = [number()]
        step = DistributedDataParallel(step, broadcast_buffers=False)
    done = 0
    wait_for_all()
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved['iterations'] != iterations or saved['seed'] != seed:
            raise ValueError(
                f'{path} was made with {saved["iterations"]} iterations and seed '
                f'{saved["seed"]}; use the same, or start again with --restart'
            )
        for key, part in parts.items():
            part.load_state_dict(saved[key])
        done = saved['done']

    def save() -> None:
        if number():
            return
        state = {key: part.state_dict() for key, part in parts.items()}
        temporary = path.with_suffix('.tmp')
        torch.save({'done': done, 'iterations': iterations, 'seed': seed, **state}, temporary)
        temporary.replace(path)

    progress = tqdm(
        total=iterations, initial=done, desc=name, unit='it', mininterval=1.0, disable=number() > 0
    )
    saved_at = time.monotonic()
    try:
        while done < iterations and not (early_stop is not None and early_stop.due):
            with torch.autocast(device, precision, enabled=precision is not None):
                terms = step(np.random.default_rng([seed, done, *own_stream]))
            optimiser.zero_grad(set_to_none=True)
            terms['total'].backward()
            with interrupt_deferred():
                nn.utils.clip_grad_norm_(trained, 10.0)
                optimiser.step()
                schedule.step()
                done += 1
            progress.update()
            shown = {}
            if done % LOG_EVERY == 0:
                shown = {key: value.item() for key, value in terms.items()}
            if early_stop is not None and done % early_stop.every == 0:
                shown['held_out'] = early_stop.judge(modules)
            if shown:
                progress.set_postfix({key: f'{value:.3g}' for key, value in shown.items()}, False)
                if log is not None and not number():
                    log(name, done, shown)
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                save()
                saved_at = time.monotonic()
    finally:
        progress.close()
        save()
    if early_stop is not None and early_stop.best_weights:
        modules.load_state_dict(early_stop.best_weights)


class _Step(nn.Module):
    """The loss as a module, as DistributedDataParallel wants it."""

    def __init__(self, modules: nn.Module, loss: Loss) -> None:
        super().__init__()
        self._modules_trained = modules
        self._loss = loss

    def forward(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Loss terms for one batch."""
        return dict(self._loss(rng))


def finished(folder: Path, name: str, iterations: int) -> bool:
    """Test whether a phase that does not stop early has made all its iterations."""
    path = folder / f'{name}.pt'
    return path.exists() and torch.load(path, weights_only=True)['done'] >= iterations


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: it is done as a whole or not at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


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
    """Test whether `torchrun` started this process."""
    return 'TORCHELASTIC_RUN_ID' in os.environ


def several() -> bool:
    """Test whether several processes train."""
    return distributed.is_available() and distributed.is_initialized()


def number() -> int:
    """Rank of this process; 0 for the first, and where there is only one."""
    return distributed.get_rank() if several() else 0


def share(batch: int) -> int:
    """This process's part of a batch, at least one."""
    return max(1, batch // distributed.get_world_size()) if several() else batch


def wait_for_all() -> None:
    """Return when all processes have come here."""
    if several():
        distributed.barrier()


def of_the_first(value: float) -> float:
    """Value that the first process has: all must decide alike."""
    if not several():
        return value
    said = [value]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


def tensorboard_log(folder: Path) -> Log:
    """A log that TensorBoard shows with `tensorboard --logdir FOLDER`.

    Args:
        folder: of the event files.

    Raises:
        ValueError: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            '--tensorboard needs a package that is not installed: pip install tensorboard'
        ) from error
    writer = SummaryWriter(str(folder))

    def log(phase: str, iteration: int, terms: Mapping[str, float]) -> None:
        for name, value in terms.items():
            writer.add_scalar(f'{phase}/{name}', value, iteration)
        writer.flush()

    return log
