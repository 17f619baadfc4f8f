"""Common steps of every conversion, from a published checkpoint to a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.errors import CheckpointError
from grasp_ros.models.registry import FAMILIES, Family

ENCODER_HEAD_WIDTH = 64
"""Of every DINOv2."""
NAMED = 3
"""At most so many tensors are named in a message."""


@dataclass(frozen=True, eq=False)
class Converted:
    """A foreign checkpoint in our terms.

    Attributes:
        family: name of the family.
        config: sizes of the model.
        weights: its state dict.
        frame_skip: commands in a model step, or None where the checkpoint does not say.
        left_out: parts that are not used.
    """

    family: Family
    config: Any
    weights: dict[str, Tensor]
    frame_skip: int | None
    left_out: tuple[str, ...]


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the `module.` that parallel training puts into names, numbers in float32."""
    return {
        '.'.join(part for part in name.split('.') if part != 'module'): (
            value.float() if value.is_floating_point() else value
        )
        for name, value in tensors.items()
    }


def encoder_sizes(weights: Mapping[str, Tensor], source: str) -> dict[str, int]:
    """Sizes of the DINOv2 among weights, as fields of a configuration."""
    positions = tensor(weights, 'encoder.pos_embed', 3, source)
    patch = tensor(weights, 'encoder.patch_embed.proj.weight', 4, source).shape[-1]
    width = positions.shape[-1]
    return {
        'patch': patch,
        'grid': round((positions.shape[1] - 1) ** 0.5),
        'encoder_width': width,
        'encoder_depth': count(weights, 'encoder.blocks.'),
        'encoder_heads': max(1, width // ENCODER_HEAD_WIDTH),
    }


def tensor(weights: Mapping[str, Tensor], name: str, dimensions: int, source: str) -> Tensor:
    """A tensor that must be there.

    Raises:
        CheckpointError: if it is not, or has another number of dimensions.
    """
    if name not in weights:
        raise CheckpointError(f'{source}: tensor {name} is missing')
    if weights[name].dim() != dimensions:
        raise CheckpointError(
            f'{source}: tensor {name} has shape {tuple(weights[name].shape)}; it must have '
            f'{dimensions} dimensions'
        )
    return weights[name]


def count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Numbered layers below a prefix."""
    return len({name[len(prefix) :].split('.')[0] for name in weights if name.startswith(prefix)})


def whole_number(settings: Mapping[str, Any], name: str, source: str) -> int:
    """A setting that must be a positive whole number.

    Raises:
        CheckpointError: if it is not.
    """
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(
            f'{source}: the configuration must have {name}, a positive whole number; it has '
            f'{value!r}'
        )
    return value


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors below a prefix, without it."""
    return {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }


def encoder_weights(encoder: Mapping[str, Tensor] | None, source: str) -> dict[str, Tensor]:
    """Weights of DINOv2 as those of a model's encoder.

    Raises:
        CheckpointError: if there are none.
    """
    if encoder is None:
        raise CheckpointError(
            f'{source}: holds no encoder, as usual; add --encoder-weights with a file of DINOv2, '
            'or --encoder-from-hub'
        )
    # Of no use but in training.
    kept = {name: value for name, value in plain_names(encoder).items() if name != 'mask_token'}
    return {f'encoder.{name}': value for name, value in kept.items()}


def check_weights(converted: Converted, source: str) -> None:
    """Every tensor must be there, none too many, all of the right shape.

    Raises:
        CheckpointError: naming those that are not.
    """
    with torch.device('meta'):
        model = FAMILIES[converted.family].model(converted.config)
    expected, found = model.state_dict(), converted.weights
    faults = [f'{name} is missing' for name in expected if name not in found]
    faults += [f'{name} is not known' for name in found if name not in expected]
    faults += [
        f'{name} has shape {tuple(found[name].shape)}, not {tuple(value.shape)}'
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    faults += [f'{name} is not finite' for name, value in found.items() if not _is_finite(value)]
    if faults:
        more = f' and {len(faults) - NAMED} more' if len(faults) > NAMED else ''
        raise CheckpointError(
            f'{source}: tensors do not make a model of the family {converted.family}: '
            f'{"; ".join(faults[:NAMED])}{more}'
        )


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


@dataclass(frozen=True)
class PublishedTask:
    """A task that other people's checkpoints were trained on; ours are in `grasp_ros/sim`.

    Attributes:
        action: fields of the manifest's `action`.
        proprioception: its names, units, mean and std.
        control_rate: commands per second, Hz; None where the simulator has no clock.
    """

    action: dict[str, Any]
    proprioception: dict[str, Any]
    control_rate: float | None


TASKS = {
    'pusht': PublishedTask(
        # How far the pusher's set point is from the pusher: 1 is 100 px of a table of 512 px.
        action={
            'kind': ActionKind.RELATIVE,
            'names': ['x', 'y'],
            'units': ['100 px', '100 px'],
            'low': [-1.0, -1.0],
            'high': [1.0, 1.0],
            'mean': [-0.0087, 0.0068],
            'std': [0.2019, 0.2002],
        },
        proprioception={
            'names': ['position.x', 'position.y', 'velocity.x', 'velocity.y'],
            'units': ['px', 'px', 'px/s', 'px/s'],
            'mean': [236.6155, 264.5674, -2.9303, 2.5431],
            'std': [101.1202, 87.0112, 74.8456, 74.1401],
        },
        control_rate=10.0,
    ),
    'point_maze': PublishedTask(
        # Share of the motors' range, 100 N.
        action={
            'kind': ActionKind.EFFORT,
            'names': ['x', 'y'],
            'units': ['100 N', '100 N'],
            'low': [-1.0, -1.0],
            'high': [1.0, 1.0],
            'mean': [7.82e-5, 6.00e-4],
            'std': [0.5769, 0.5776],
        },
        proprioception={
            'names': ['position.x', 'position.y', 'velocity.x', 'velocity.y'],
            'units': ['m', 'm', 'm/s', 'm/s'],
            'mean': [1.8131, 1.9377, -0.0039, -0.0198],
            'std': [1.0055, 0.9630, 1.6803, 1.9319],
        },
        control_rate=20.0,
    ),
    'wall': PublishedTask(
        # How far the dot moves.
        action={
            'kind': ActionKind.RELATIVE,
            'names': ['x', 'y'],
            'units': ['px', 'px'],
            'low': [-1.8, -1.8],
            'high': [1.8, 1.8],
            'mean': [-0.0056, 0.0132],
            'std': [0.7523, 0.7467],
        },
        proprioception={
            'names': ['position.x', 'position.y'],
            'units': ['px', 'px'],
            'mean': [31.8945, 31.8140],
            'std': [17.6635, 17.2752],
        },
        control_rate=None,
    ),
}
