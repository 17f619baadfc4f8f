"""A training phase that shows its progress, survives Ctrl-C and resumes where it stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

SAVE_EVERY_S = 60.0

Loss = Callable[[np.random.Generator], Mapping[str, Tensor]]


def run_phase(
    name: str,
    modules: nn.Module,
    loss: Loss,
    iterations: int,
    *,
    learning_rate: float,
    seed: int,
    folder: Path,
) -> None:
    """Minimise `loss` with AdamW and a cosine schedule; a finished phase returns at once.

    Each iteration's randomness derives from (seed, iteration) alone, so that a resumed run makes
    the same steps as an uninterrupted one.

    Args:
        name: of the phase; its progress is kept in `folder`/`name`.pt.
        modules: everything that is trained or must be restored.
        loss: terms for one batch; 'total' is minimised.
        iterations: optimiser steps.
        learning_rate: at the start; it ends near zero.
        seed: of all randomness.
        folder: where progress is kept.

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
    done = 0
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
        state = {key: part.state_dict() for key, part in parts.items()}
        temporary = path.with_suffix('.tmp')
        torch.save({'done': done, 'iterations': iterations, 'seed': seed, **state}, temporary)
        temporary.replace(path)

    progress = tqdm(total=iterations, initial=done, desc=name, unit='it', mininterval=1.0)
    saved_at = time.monotonic()
    try:
        while done < iterations:
            terms = loss(np.random.default_rng([seed, done]))
            optimiser.zero_grad(set_to_none=True)
            terms['total'].backward()
            with interrupt_deferred():
                nn.utils.clip_grad_norm_(trained, 10.0)
                optimiser.step()
                schedule.step()
                done += 1
            progress.update()
            if done % 50 == 0:
                shown = {key: f'{value.item():.3g}' for key, value in terms.items()}
                progress.set_postfix(shown, refresh=False)
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                save()
                saved_at = time.monotonic()
    finally:
        progress.close()
        save()


def finished(folder: Path, name: str, iterations: int) -> bool:
    """Whether phase `name` has made all its iterations."""
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
