"""Loss terms for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grasp_ros.training.loop import Log


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
