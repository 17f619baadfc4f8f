"""A copy of a model whose steps last less, for robots that are as much faster."""

from __future__ import annotations

import shutil
from pathlib import Path

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import MANIFEST_NAME, WEIGHTS_NAME, read_manifest

SCALED = ('low', 'high', 'mean', 'std')


def write_faster(source: Path, target: Path, control_rate: float) -> None:
    """Copy a model of velocities, with a manifest for another control rate.

    Motion per model step stays what the weights have learned: a step lasts less by a factor, and
    every velocity is larger by it. True of a robot whose velocity limit is larger by it, too.

    Args:
        source: folder of the model.
        target: folder to write; made if missing.
        control_rate: of the copy, Hz.

    Raises:
        ValueError: if the model does not command velocities.
        CheckpointError: if the model cannot be read.
    """
    manifest = read_manifest(source)
    action = manifest.action
    if action.kind is not ActionKind.VELOCITY:
        raise ValueError(f'{source}: only velocities scale with time, not {action.kind.value}')
    factor = control_rate / manifest.control_rate
    scaled = {name: [factor * value for value in getattr(action, name)] for name in SCALED}
    faster = manifest.model_copy(
        update={
            'model_dt': manifest.model_dt / factor,
            'action': action.model_copy(update=scaled),
        }
    )
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / WEIGHTS_NAME, target / WEIGHTS_NAME)
    (target / MANIFEST_NAME).write_text(faster.model_dump_json(indent=2) + '\n')
