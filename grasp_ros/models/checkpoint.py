"""World models on disk: `model.safetensors` beside a JSON manifest that says how to use it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.errors import CheckpointError
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.published.exported import (
    ENCODER_NAME,
    PREDICTOR_NAME,
    ExportedConfig,
    load_exported,
)
from grasp_ros.models.registry import FAMILIES, LearnedModel, family_of
from grasp_ros.models.sensors import CAMERA

WEIGHTS_NAME = 'model.safetensors'
MANIFEST_NAME = 'manifest.json'
MODEL_FILES = (WEIGHTS_NAME, ENCODER_NAME, PREDICTOR_NAME, MANIFEST_NAME)
"""Of which a model has some."""
PRETRAINED = Path(__file__).parent / 'pretrained'
FOREIGN = {'.pth', '.pt', '.ckpt', '.tar', '.pkl'}
"""Endings of files that other projects keep weights in."""


def find_model(name: str) -> Path:
    """Folder of a model: a path, or the name of a model that comes with the package.

    Raises:
        CheckpointError: if neither exists.
    """
    given = Path(name).expanduser()
    for folder in (given, PRETRAINED / name):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    if given.suffix in FOREIGN or any(file.suffix in FOREIGN for file in _files(given)):
        raise CheckpointError(
            f'{given}: a checkpoint of another project, which may run code where it is loaded, '
            f'not a folder with {WEIGHTS_NAME} and {MANIFEST_NAME}; make one of it with '
            '`python -m grasp_ros.models.convert`'
        )
    shipped = sorted(path.parent.name for path in PRETRAINED.glob(f'*/{MANIFEST_NAME}'))
    raise CheckpointError(
        f'model {name!r}: no {MANIFEST_NAME} in that folder, and it is none of the models that '
        f'come with grasp_ros ({", ".join(shipped) or "none"}); '
        f'give a folder that holds {WEIGHTS_NAME} and {MANIFEST_NAME}'
    )


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def read_manifest(folder: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        CheckpointError: if it is missing, not JSON, incomplete (as without action statistics) or
            inconsistent.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from error
    except ValidationError as error:
        faults = '; '.join(
            f'{".".join(map(str, item["loc"])) or "file"}: {item["msg"]}'
            for item in error.errors()
        )
        raise CheckpointError(
            f'{path}: {faults}. Correct the manifest, or write the model again with the train '
            'command'
        ) from error


def load_model(
    folder: Path, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32
) -> tuple[LearnedModel, Manifest]:
    """Load a model of any family in evaluation mode, its weights checked against the manifest.

    Raises:
        CheckpointError: if a file is missing or truncated, the SHA-256 is wrong, or tensors do
            not have the manifest's architecture.
        TrustError: if it is made of programs that the user has not trusted.
    """
    manifest = read_manifest(folder)
    if manifest.encoder_sha256 is not None:
        digests = {ENCODER_NAME: manifest.encoder_sha256, PREDICTOR_NAME: manifest.weights_sha256}
        programs = load_exported(folder, digests, device, dtype)
        _check(manifest, programs.config, folder)
        return programs, manifest
    path = folder / WEIGHTS_NAME
    try:
        # All in memory: whoever replaces or truncates the file later changes nothing here.
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.weights_sha256:
        raise CheckpointError(
            f'{path}: SHA-256 is {digest}, but {MANIFEST_NAME} says {manifest.weights_sha256}: '
            'the file is truncated or not the one the manifest was written for; copy both again'
        )
    model = _build(manifest, path)
    try:
        state = load(content)
    except SafetensorError as error:
        raise CheckpointError(f'{path}: not a safetensors file: {error}') from error
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f'{path}: tensors do not match the architecture in {MANIFEST_NAME}: {error}'
        ) from error
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise CheckpointError(f'{path}: holds non-finite weights; train or copy the model again')
    model.requires_grad_(False)
    return model.eval().to(device, dtype), manifest


def load_compact(
    folder: Path, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32
) -> tuple[CompactModel, Manifest]:
    """Load a model that the train command made; otherwise as `load_model`.

    Raises:
        CheckpointError: also if the model is of another family.
    """
    model, manifest = load_model(folder, device, dtype)
    if not isinstance(model, CompactModel):
        raise CheckpointError(
            f'{folder}: this needs a model of the family compact, and that one is {manifest.family}'
        )
    return model, manifest


def _build(manifest: Manifest, path: Path) -> LearnedModel:
    family = FAMILIES[manifest.family]
    try:
        config = family.config(**manifest.architecture)
        with torch.random.fork_rng():
            model = family.model(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f'{path.parent / MANIFEST_NAME}: architecture: {error}'
        ) from error
    _check(manifest, config, path.parent)
    return model


def _check(manifest: Manifest, config: Any, folder: Path) -> None:
    """Check that the manifest fits a model of that configuration."""
    if isinstance(config, ExportedConfig):
        size = (config.image_height, config.image_width)
    else:
        size = (config.image_size, config.image_size)
    expected = {
        'architecture': ({**asdict(config), **manifest.architecture}, asdict(config)),
        'history': (manifest.history, getattr(config, 'history', 1)),
        'image': ((manifest.image.height, manifest.image.width), size),
        'action.names x frame_skip': (
            len(manifest.action.names) * manifest.frame_skip,
            config.action_dim,
        ),
        'cameras': (len(manifest.cameras), config.cameras),
        'proprioception.names': (
            len(manifest.proprioception.names) if manifest.proprioception else 0,
            config.proprioception,
        ),
    }
    for name, (stated, built) in expected.items():
        if stated != built:
            raise CheckpointError(
                f'{folder / MANIFEST_NAME}: {name} is {stated}, but the architecture '
                f'makes it {built}'
            )


def save_model(folder: Path, model: LearnedModel, **manifest: Any) -> Manifest:
    """Write weights and manifest; `manifest` holds the fields that the model does not know."""
    return write_model(
        folder,
        family=family_of(model),
        architecture=asdict(model.config),
        weights=model.state_dict(),
        history=model.history,
        **manifest,
    )


def write_model(folder: Path, *, weights: dict[str, Tensor], **manifest: Any) -> Manifest:
    """Write weights, and a manifest with all its other fields."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_NAME
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    written = Manifest(weights_sha256=digest, **manifest)
    write_manifest(folder, written)
    return written


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest beside the weights that it is of, never half of it."""
    content = manifest.model_dump(mode='json', exclude_none=True)
    if content['cameras'] == [CAMERA]:  # as before there could be several
        del content['cameras']
    text = json.dumps(content, indent=2)
    path = folder / MANIFEST_NAME
    unfinished = path.with_suffix('.unfinished')
    unfinished.write_text(text + '\n')
    unfinished.replace(path)
