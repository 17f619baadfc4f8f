"""Checkpoints of JEPA-WM as our tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from grasp_ros.models.convert.foreign import (
    Converted,
    count,
    encoder_sizes,
    encoder_weights,
    plain_names,
    tensor,
)
from grasp_ros.models.convert.pickled import Contents
from grasp_ros.models.errors import CheckpointError
from grasp_ros.models.published.jepa_wm import JepaWmConfig

PARTS = ('predictor', 'proprio_encoder')
PUBLISHED_HEADS, PUBLISHED_WINDOW, PUBLISHED_IMAGE_SIZE = 16, 2, 224
"""Not to be seen in the weights: heads, frames looked back on, and the images' side, px."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RENAMED = {'state_encoder': 'proprio_encoder'}
"""Parts with another name in older files."""


def convert(
    contents: Contents, encoder: Mapping[str, Tensor] | None, source: str
) -> Converted:
    """The predictor of a checkpoint, joined with a DINOv2.

    Args:
        contents: of the checkpoint.
        encoder: state dict of DINOv2.
        source: name of the file, for messages.

    Raises:
        CheckpointError: naming the tensor that does not fit.
    """
    tensors = _renamed(plain_names(contents.tensors))
    weights = {name: value for name, value in tensors.items() if name.split('.')[0] in PARTS}
    weights |= encoder_weights(encoder, source)
    weights |= {'image_mean': torch.tensor(IMAGE_MEAN), 'image_std': torch.tensor(IMAGE_STD)}
    proprioception = weights.get('proprio_encoder.patch_embed.weight')
    sizes = encoder_sizes(weights, source)
    try:
        config = JepaWmConfig(
            image_size=PUBLISHED_IMAGE_SIZE,
            history=PUBLISHED_WINDOW,
            action_dim=tensor(weights, 'predictor.action_encoder.weight', 2, source).shape[1],
            proprioception=0 if proprioception is None else proprioception.shape[1],
            proprio_width=0 if proprioception is None else proprioception.shape[0],
            visual_width=tensor(weights, 'predictor.predictor_embed.weight', 2, source).shape[0],
            depth=count(weights, 'predictor.predictor_blocks.'),
            heads=PUBLISHED_HEADS,
            hidden=tensor(
                weights, 'predictor.predictor_blocks.0.mlp.fc1.weight', 2, source
            ).shape[0],
            **sizes,
        )
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error
    left_out = sorted({name.split('.')[0] for name in tensors} - set(PARTS))
    return Converted('jepa_wm', config, weights, None, tuple(left_out))


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        '.'.join(RENAMED.get(part, part) for part in name.split('.')): value
        for name, value in tensors.items()
    }
