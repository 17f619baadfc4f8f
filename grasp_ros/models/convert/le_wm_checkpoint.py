"""Checkpoints of LeWM, in the layouts of stable-worldmodel, as our tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from grasp_ros.models.convert.foreign import (
    ENCODER_HEAD_WIDTH,
    Converted,
    count,
    plain_names,
    tensor,
)
from grasp_ros.models.convert.pickled import Contents
from grasp_ros.models.errors import CheckpointError
from grasp_ros.models.published.le_wm import LeWmConfig

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEADS_FACT = 'predictor.transformer.layers.0.attn.heads'
TO_TRANSFORMERS_5 = (
    (r'^encoder\.encoder\.layer\.', 'encoder.layers.'),
    (r'\.attention\.attention\.query\.', '.attention.q_proj.'),
    (r'\.attention\.attention\.key\.', '.attention.k_proj.'),
    (r'\.attention\.attention\.value\.', '.attention.v_proj.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'\.output\.dense\.', '.mlp.fc2.'),
)
"""Names in the encoder as the library transformers had them before its version 5."""
TO_OURS = (
    (r'^encoder\.embeddings\.cls_token$', 'encoder.cls_token'),
    (r'^encoder\.embeddings\.position_embeddings$', 'encoder.pos_embed'),
    (r'^encoder\.embeddings\.patch_embeddings\.projection\.', 'encoder.patch_embed.proj.'),
    (r'^encoder\.layers\.', 'encoder.blocks.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'\.attention\.o_proj\.', '.attn.proj.'),
    (r'^encoder\.layernorm\.', 'encoder.norm.'),
)
QUERY, KEY, VALUE = ('.attention.q_proj.', '.attention.k_proj.', '.attention.v_proj.')
TOGETHER = '.attn.qkv.'
WRAPPERS = ('state_dict.', 'model.')


def convert(contents: Contents, settings: Mapping[str, Any] | None, source: str) -> Converted:
    """All of a checkpoint: it holds its encoder.

    Args:
        contents: of the checkpoint, a module or a state dict.
        settings: of its config.json, which tells the heads of a state dict; None without one.
        source: name of the file, for messages.

    Raises:
        CheckpointError: naming the tensor or the setting that does not fit.
    """
    tensors = plain_names(unwrapped(contents.tensors))
    weights = _encoder_in_our_names(tensors)
    weights |= {'image_mean': torch.tensor(IMAGE_MEAN), 'image_std': torch.tensor(IMAGE_STD)}
    positions = tensor(weights, 'encoder.pos_embed', 3, source)
    patch = tensor(weights, 'encoder.patch_embed.proj.weight', 4, source).shape[-1]
    smooth = tensor(weights, 'action_encoder.patch_embed.weight', 3, source)
    places = tensor(weights, 'predictor.pos_embedding', 3, source)
    heads = _heads(contents, settings, source)
    inner = tensor(weights, 'predictor.transformer.layers.0.attn.to_qkv.weight', 2, source)
    width = positions.shape[-1]
    config = LeWmConfig(
        image_size=patch * round((positions.shape[1] - 1) ** 0.5),
        patch=patch,
        encoder_width=width,
        encoder_depth=count(weights, 'encoder.blocks.'),
        encoder_heads=max(1, width // ENCODER_HEAD_WIDTH),
        latent_dim=places.shape[2],
        projector_hidden=tensor(weights, 'projector.net.0.weight', 2, source).shape[0],
        history=places.shape[1],
        action_dim=smooth.shape[1],
        action_smooth=smooth.shape[0],
        action_hidden=tensor(weights, 'action_encoder.embed.0.weight', 2, source).shape[0],
        depth=count(weights, 'predictor.transformer.layers.'),
        heads=heads,
        head_width=inner.shape[0] // 3 // heads,
        hidden=tensor(
            weights, 'predictor.transformer.layers.0.mlp.net.1.weight', 2, source
        ).shape[0],
    )
    return Converted('le_wm', config, weights, None, ())


def unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without a prefix that training loops put before all names."""
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name[len(wrapper) :]: value for name, value in tensors.items()}
    return tensors


def _encoder_in_our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in tensors.items():
        if name.startswith('encoder.'):
            for before, after in TO_TRANSFORMERS_5 + TO_OURS:
                name = re.sub(before, after, name)
        renamed[name] = value
    for name in [name for name in renamed if QUERY in name]:
        parts = [name.replace(QUERY, each) for each in (QUERY, KEY, VALUE)]
        if all(each in renamed for each in parts):
            together = torch.cat([renamed.pop(each) for each in parts])
            renamed[name.replace(QUERY, TOGETHER)] = together
    return renamed


def _heads(contents: Contents, settings: Mapping[str, Any] | None, source: str) -> int:
    found = contents.facts.get(HEADS_FACT)
    if isinstance(found, int) and found > 0:
        return found
    predictor: Any = settings or {}
    for key in ('model', 'predictor'):
        predictor = predictor.get(key, predictor) if isinstance(predictor, Mapping) else {}
    heads = predictor.get('heads') if isinstance(predictor, Mapping) else None
    if not isinstance(heads, int) or heads <= 0:
        raise CheckpointError(
            f"{source}: weights do not tell the predictor's heads; name its config.json with "
            '--config'
        )
    return heads
