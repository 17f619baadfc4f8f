"""What a training run leaves in its work folder and in the manifest, besides weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grasp_ros.training.loop import Log, number, wait_for_all


def check_settings(settings: Mapping[str, Any], work: Path) -> None:
    """Refuse progress that was made with other settings: it would not fit the data.

    Raises:
        ValueError: naming what differs.
    """
    path = work / 'settings.json'
    if not number() and not path.exists():
        path.write_text(json.dumps(settings, indent=2) + '\n')
    wait_for_all()
    earlier = json.loads(path.read_text())
    changed = [
        f'{name} {earlier.get(name)} (now {value})'
        for name, value in settings.items()
        if earlier.get(name) != value
    ]
    if changed:
        raise ValueError(
            f'the progress in {work} was made with {", ".join(changed)}; use the same settings, '
            'or start again with --restart'
        )


def spent_minutes(work: Path, seconds: float) -> float:
    """Add the time of this run to that of those before it; minutes of all of them."""
    path = work / 'seconds.txt'
    total = seconds + (float(path.read_text()) if path.exists() else 0.0)
    path.write_text(f'{total:.1f}\n')
    return round(total / 60, 1)


def versions() -> dict[str, str]:
    """Of what the weights depend on."""
    return {
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
    }


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
