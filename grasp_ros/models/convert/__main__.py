"""The command `convert`: other people's checkpoints to safetensors with a manifest."""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from grasp_ros.models.calibration import Calibration
from grasp_ros.models.checkpoint import (
    MANIFEST_NAME,
    CheckpointError,
    load_model,
    write_manifest,
    write_model,
)
from grasp_ros.models.convert import dino_wm_checkpoint, jepa_wm_checkpoint, le_wm_checkpoint
from grasp_ros.models.convert.foreign import TASKS, Converted, check_weights
from grasp_ros.models.convert.pickled import Contents, read_checkpoint
from grasp_ros.models.errors import TrustError, trust, trusted_file
from grasp_ros.models.manifest import (
    ActionManifest,
    ImagePipeline,
    Manifest,
    ProprioceptionManifest,
)
from grasp_ros.models.published.exported import ENCODER_NAME, PREDICTOR_NAME, load_exported

DINOV2_URL = 'https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth'
REFUSED = 2


def convert(options: argparse.Namespace) -> Path:
    """Write the folder of a model, and load it once.

    Raises:
        CheckpointError: if a file cannot be used, or something is not said.
        TrustError: if the checkpoint holds more than numbers and is not trusted.
    """
    output: Path = options.output
    if (output / MANIFEST_NAME).exists():
        raise CheckpointError(f'{output}: holds a model already; name another folder')
    statistics = _statistics(options)
    if options.predictor is not None:
        return _convert_programs(statistics, options)
    contents = read_checkpoint(options.checkpoint, options.trust)
    settings = _settings(options)
    _check_normalisation(settings, options)
    source = str(options.checkpoint)
    converted = _converted(contents, settings, options)
    check_weights(converted, source)
    _write(output, converted, statistics, contents, options)
    load_model(output)
    if converted.left_out:
        print(f'not used: {", ".join(converted.left_out)}')
    print(f'{output}: {converted.family}, {asdict(converted.config)}')
    return output


def _converted(
    contents: Contents, settings: Mapping[str, Any] | None, options: argparse.Namespace
) -> Converted:
    """By what the tensors are called; nothing else tells the families apart."""
    source = str(options.checkpoint)
    names = '\n'.join(contents.tensors)
    if 'predictor_blocks.' in names:
        return jepa_wm_checkpoint.convert(contents, _encoder(options), source)
    if 'pred_proj.' in names:
        if options.task:
            raise CheckpointError(
                f'{source}: a LeWM, of whose actions no statistics are published; give --statistics'
            )
        return le_wm_checkpoint.convert(contents, settings, source)
    if 'predictor.' in names and 'pos_embedding' in names:
        return dino_wm_checkpoint.convert(contents, settings, _encoder(options), source)
    raise CheckpointError(
        f'{source}: holds no DINO-WM, JEPA-WM or LeWM; its tensors are called '
        f'{", ".join(list(contents.tensors)[:5]) or "nothing"} ...'
    )


def _statistics(options: argparse.Namespace) -> dict[str, Any]:
    """Statistics of actions and proprioception, and where they come from."""
    if options.statistics is None:
        task = TASKS[options.task]
        return {
            'action': task.action,
            'proprioception': task.proprioception,
            'control_rate': task.control_rate,
        }
    try:
        found = json.loads(options.statistics.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{options.statistics}: cannot be read: {error}') from error
    if not isinstance(found, dict) or 'action' not in found:
        raise CheckpointError(
            f'{options.statistics}: must be a JSON object with "action", and "proprioception" and '
            '"control_rate" where they are known'
        )
    return found


def _settings(options: argparse.Namespace) -> dict[str, Any] | None:
    """The configuration beside a checkpoint, or None where there is none."""
    path: Path | None = options.config
    if path is None:
        folder = options.checkpoint.parent
        beside = [folder / 'hydra.yaml', folder.parent / 'hydra.yaml', folder / 'config.json']
        path = next((each for each in beside if each.is_file()), None)
        if path is None:
            return None
    try:
        found = yaml.safe_load(path.read_text())  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f'{path}: cannot be read: {error}') from error
    if not isinstance(found, dict):
        raise CheckpointError(f'{path}: holds no settings')
    print(f'settings: {path}')
    return found


def _check_normalisation(
    settings: Mapping[str, Any] | None, options: argparse.Namespace
) -> None:
    if settings is not None and settings.get('normalize_action') is False and options.task:
        raise CheckpointError(
            f'{options.checkpoint}: trained with actions as they are (normalize_action false), so '
            'the statistics of --task are wrong; give --statistics with mean 0 and std 1'
        )


def _encoder(options: argparse.Namespace) -> Mapping[str, Tensor] | None:
    """State dict of DINOv2, if one was asked for."""
    path: Path | None = options.encoder_weights
    if path is not None:
        try:
            if path.suffix == '.safetensors':
                return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f'{path}: cannot be read: {error}') from error
        return read_checkpoint(path, trust=False).tensors
    if not options.encoder_from_hub:
        return None
    print(f'encoder: {DINOV2_URL}')
    try:
        return torch.hub.load_state_dict_from_url(
            DINOV2_URL, map_location='cpu', weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f'{DINOV2_URL}: cannot be downloaded: {error}') from error


def _convert_programs(statistics: dict[str, Any], options: argparse.Namespace) -> Path:
    """Copy two programs of torch.export, trusted from now on, and describe them."""
    files = {ENCODER_NAME: options.checkpoint, PREDICTOR_NAME: options.predictor}
    try:
        contents = {name: path.read_bytes() for name, path in files.items()}
    except OSError as error:
        raise CheckpointError(f'{error.filename}: cannot be read: {error.strerror}') from error
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, path in files.items():
        print(f'{path} is a program, which can run code of its author; SHA-256 {digests[name]}')
    if not options.trust:
        raise TrustError(
            f'{options.checkpoint}, {options.predictor}: nothing of them was run. Add --trust if '
            'you know where they come from'
        )
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (output / name).write_bytes(content)
        trust(digests[name])
    config = load_exported(output, digests).config
    manifest = Manifest(
        family='exported',
        weights_sha256=digests[PREDICTOR_NAME],
        encoder_sha256=digests[ENCODER_NAME],
        image=ImagePipeline(height=config.image_height, width=config.image_width, fit='crop'),
        **_described(config, None, statistics, options),
    )
    write_manifest(output, manifest)
    load_model(output)
    print(f'{output}: exported, {asdict(config)}; trusted in {trusted_file()}')
    return output


def _write(
    output: Path,
    converted: Converted,
    statistics: dict[str, Any],
    contents: Contents,
    options: argparse.Namespace,
) -> None:
    size = converted.config.image_size
    fields = _described(converted.config, converted.frame_skip, statistics, options)
    fields['training']['source_sha256'] = contents.sha256
    write_model(
        output,
        weights=converted.weights,
        family=converted.family,
        image=ImagePipeline(height=size, width=size, fit='crop'),
        **fields,
    )


def _described(
    config: Any, frame_skip: int | None, statistics: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Fields of the manifest that do not depend on the layout of the checkpoint."""
    action = _action(statistics, options)
    frame_skip = options.frame_skip or frame_skip
    if frame_skip is None:
        frame_skip = max(1, config.action_dim // len(action.names))
    if frame_skip * len(action.names) != config.action_dim:
        raise CheckpointError(
            f'{options.checkpoint}: an action of the model has {config.action_dim} components, but '
            f'frame skip {frame_skip} times {", ".join(action.names)} makes '
            f'{frame_skip * len(action.names)}; name the right --task or --frame-skip'
        )
    proprioception = _proprioception(statistics, options) if config.proprioception else None
    if proprioception is not None and len(proprioception.names) != config.proprioception:
        raise CheckpointError(
            f'{options.checkpoint}: the model takes {config.proprioception} components of '
            f'proprioception, but the statistics are of {len(proprioception.names)}'
        )
    rate = options.control_rate or statistics.get('control_rate')
    if not rate:
        raise CheckpointError('nothing says how many commands a second; add --control-rate')
    return {
        'architecture': asdict(config),
        'history': config.history,
        'model_dt': frame_skip / rate,
        'frame_skip': frame_skip,
        'action': action,
        'proprioception': proprioception,
        'calibration': Calibration(one_step_latent=options.one_step_latent),
        'training': {'converted_from': options.checkpoint.name, 'task': options.task},
    }


def _action(statistics: dict[str, Any], options: argparse.Namespace) -> ActionManifest:
    try:
        return ActionManifest.model_validate(statistics['action'])
    except ValueError as error:
        raise CheckpointError(f'{options.statistics}: {error}') from error


def _proprioception(
    statistics: dict[str, Any], options: argparse.Namespace
) -> ProprioceptionManifest:
    try:
        return ProprioceptionManifest.model_validate(statistics.get('proprioception'))
    except ValueError as error:
        raise CheckpointError(
            f'{options.statistics}: the model takes proprioception, but "proprioception" is not '
            f'as it must be there: {error}'
        ) from error


def arguments_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog='convert', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path, help="as DINO-WM's checkpoints/model_latest.pth")
    parser.add_argument(
        '--predictor',
        type=Path,
        help="program of torch.export; the checkpoint is the encoder's then",
    )
    parser.add_argument('output', type=Path, help='folder of the model to write')
    parser.add_argument(
        '--trust',
        action='store_true',
        help='take a checkpoint that can run code; without it, status 2',
    )
    parser.add_argument(
        '--config', type=Path, help='default: hydra.yaml or config.json near the checkpoint'
    )
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument(
        '--task', choices=sorted(TASKS), help='whose published action statistics to take'
    )
    known.add_argument(
        '--statistics',
        type=Path,
        help='JSON file: action (as in a manifest), proprioception, control_rate',
    )
    parser.add_argument('--frame-skip', type=int, help='commands in a model step')
    parser.add_argument('--control-rate', type=float, help='commands per second, Hz')
    parser.add_argument(
        '--one-step-latent',
        type=float,
        help='mean squared latent change of a step of motion, if measured; else nothing counts '
        'as reached',
    )
    encoder = parser.add_mutually_exclusive_group()
    encoder.add_argument('--encoder-weights', type=Path, help='file with DINOv2 ViT-S/14')
    encoder.add_argument(
        '--encoder-from-hub', action='store_true', help=f'download it from {DINOV2_URL}'
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command: 0 done, 1 a file cannot be used, 2 refused without --trust."""
    options = arguments_parser().parse_args(arguments)
    try:
        convert(options)
    except TrustError as error:
        print(f'convert: {error}', file=sys.stderr)
        return REFUSED
    except CheckpointError as error:
        print(f'convert: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
