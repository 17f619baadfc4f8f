"""Checkpoints of DINO-WM, in both of the layouts that they are published in, as our tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from grasp_ros.models.convert.foreign import (
    Converted,
    count,
    encoder_sizes,
    encoder_weights,
    part,
    plain_names,
    tensor,
    whole_number,
)
from grasp_ros.models.convert.pickled import Contents
from grasp_ros.models.errors import CheckpointError
from grasp_ros.models.published.dino_wm import DinoWmConfig
from grasp_ros.models.published.transformer import frame_causal

PARTS = ('predictor', 'action_encoder', 'proprio_encoder', 'encoder')
PUBLISHED_HEADS = 16
PUBLISHED_FRAMES, PUBLISHED_WINDOW = 4, 2
"""Of the models that come without hydra.yaml: frames with positions, and frames looked back on."""
IMAGE_MEAN = IMAGE_STD = (0.5, 0.5, 0.5)


def convert(
    contents: Contents,
    settings: Mapping[str, Any] | None,
    encoder: Mapping[str, Tensor] | None,
    source: str,
) -> Converted:
    """The predictor of a checkpoint, joined with a DINOv2.

    Args:
        contents: of the checkpoint.
        settings: of its hydra.yaml; None in the layout that comes without one.
        encoder: state dict of DINOv2, for checkpoints that do not hold one.
        source: name of the file, for messages.

    Raises:
        CheckpointError: naming the tensor or the setting that does not fit.
    """
    tensors = plain_names(contents.tensors)
    weights = {name: value for name, value in tensors.items() if name.split('.')[0] in PARTS}
    inside = part(weights, 'encoder.base_model.')
    for name in inside:
        del weights[f'encoder.base_model.{name}']
    weights |= encoder_weights(inside or encoder, source)
    weights |= {'image_mean': torch.tensor(IMAGE_MEAN), 'image_std': torch.tensor(IMAGE_STD)}
    config = _config(weights, contents, settings, source)
    _drop_masks(weights, config, source)
    skip = None if settings is None else whole_number(settings, 'frameskip', source)
    left_out = sorted({name.split('.')[0] for name in tensors} - set(PARTS))
    return Converted('dino_wm', config, weights, skip, tuple(left_out))


def _config(
    weights: Mapping[str, Tensor],
    contents: Contents,
    settings: Mapping[str, Any] | None,
    source: str,
) -> DinoWmConfig:
    embed = tensor(weights, 'action_encoder.patch_embed.weight', 3, source)
    proprioception = weights.get('proprio_encoder.patch_embed.weight')
    layer = 'predictor.transformer.layers.0'
    inner = tensor(weights, f'{layer}.0.to_qkv.weight', 2, source).shape[0] // 3
    heads = _heads(contents, settings, f'{layer}.0.heads', source)
    frames = history = _frames(settings, source)
    if settings is None:
        history = PUBLISHED_WINDOW
    places = tensor(weights, 'predictor.pos_embedding', 3, source).shape[1]
    side = round((places / frames) ** 0.5)
    if side * side * frames != places:
        raise CheckpointError(
            f'{source}: predictor.pos_embedding has {places} positions, which are not {frames} '
            'frames of a square of patches'
        )
    sizes = encoder_sizes(weights, source)
    encoder_image_size = side * sizes['patch']
    image_size = encoder_image_size
    if settings is not None:
        image_size = whole_number(settings, 'img_size', source)
    try:
        return DinoWmConfig(
            image_size=image_size,
            encoder_image_size=encoder_image_size,
            history=history,
            frames=frames,
            action_dim=embed.shape[1],
            action_width=embed.shape[0],
            proprioception=0 if proprioception is None else proprioception.shape[1],
            proprio_width=0 if proprioception is None else proprioception.shape[0],
            depth=count(weights, 'predictor.transformer.layers.'),
            heads=heads,
            head_width=inner // heads,
            hidden=tensor(weights, f'{layer}.1.net.1.weight', 2, source).shape[0],
            **sizes,
        )
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error


def _frames(settings: Mapping[str, Any] | None, source: str) -> int:
    """Frames with positions; refuses what the model here is not."""
    if settings is None:
        return PUBLISHED_FRAMES
    for name, only in (('concat_dim', 1), ('num_action_repeat', 1), ('num_proprio_repeat', 1)):
        if settings.get(name, only) != only:
            raise CheckpointError(
                f'{source}: hydra.yaml has {name} {settings[name]}; only {only} is supported'
            )
    return whole_number(settings, 'num_hist', source)


def _heads(
    contents: Contents, settings: Mapping[str, Any] | None, fact: str, source: str
) -> int:
    """Heads of the predictor, which its weights do not tell."""
    found = contents.facts.get(fact)
    if isinstance(found, int):
        return found
    predictor = (settings or {}).get('predictor')
    if isinstance(predictor, Mapping) and isinstance(predictor.get('heads'), int):
        return int(predictor['heads'])
    if settings is not None:
        raise CheckpointError(f'{source}: hydra.yaml does not say predictor.heads')
    return PUBLISHED_HEADS


def _drop_masks(weights: dict[str, Tensor], config: DinoWmConfig, source: str) -> None:
    """Some versions keep the attention's mask beside the weights: ours must be the same."""
    patches = (config.encoder_image_size // config.patch) ** 2
    for layer in range(config.depth):
        name = f'predictor.transformer.layers.{layer}.0.bias'
        mask = weights.pop(name, None)
        if mask is None:
            continue
        ours = frame_causal(config.frames, patches)
        if mask.numel() != ours.numel() or not torch.equal(mask.reshape(ours.shape) != 0, ours):
            raise CheckpointError(
                f'{source}: {name} is another mask than that of {config.frames} frames of '
                f'{patches} patches that see themselves and those before'
            )
