"""The command `train`: a compact world model from recorded bags or from a simulated task."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from grasp_ros.bags.message_types import BagError
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.sim.registry import ROOMS
from grasp_ros.training.data.extract import Extraction, extract, report
from grasp_ros.training.data.training_data import RecordedData, SimulatedData, TrainingData
from grasp_ros.training.loop import (
    number,
    processes,
    started_by_torchrun,
    tensorboard_log,
    wait_for_all,
)
from grasp_ros.training.phases import PRECISIONS
from grasp_ros.training.pipeline import spent_minutes, train
from grasp_ros.training.recipes import RECIPES, RECORDED, SIMULATED_ONLY, TrainConfig

BAG_OPTIONS = (
    'image_topic', 'action_topic', 'action_names', 'action_kind', 'action_units', 'action_low',
    'action_high', 'proprioception_topic', 'proprioception_names', 'clock', 'image_size',
    'image_fit', 'model_dt', 'frame_skip', 'lag', 'command_timeout', 'tolerance',
)  # fmt: skip


def main(
    arguments: list[str] | None = None,
    simulated: Callable[[TrainConfig], TrainingData] = SimulatedData,
) -> int:
    """Train and write a model; exit status 1 if it is not acceptable.

    Args:
        arguments: of the command line; None for those of the process.
        simulated: makes the data of a simulated task.
    """
    parsed, config = parse(arguments)
    torch.set_num_threads(parsed.threads)
    if parsed.restart and os.environ.get('RANK', '0') == '0':
        shutil.rmtree(parsed.work, ignore_errors=True)
    parsed.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        log = tensorboard_log(parsed.work / 'tensorboard') if parsed.tensorboard else None
        recorded = parsed.bags is not None or parsed.recorded is not None
        if not recorded and started_by_torchrun():
            raise ValueError('several processes train on recorded data only')
        with processes(parsed.device if recorded else 'cpu') as device:
            data = RecordedData(_dataset(parsed), config) if recorded else simulated(config)
            failures = train(
                config, data, parsed.work, parsed.output, device=device, log=log, began=began
            )
    except KeyboardInterrupt:
        spent_minutes(parsed.work, time.monotonic() - began)
        print(f'\nstopped; the same command resumes from {parsed.work}', file=sys.stderr)
        return 130
    except (ValueError, BagError) as error:
        print(f'train: {error}', file=sys.stderr)
        return 2
    for failure in failures:
        print(f'not acceptable: {failure}', file=sys.stderr)
    return 1 if failures else 0


def _dataset(parsed: argparse.Namespace) -> Path:
    """Folder of the dataset; the first process extracts it from the bags where there are such."""
    if parsed.bags is None:
        return Path(parsed.recorded)
    folder: Path = parsed.work / 'dataset'
    if not number():
        report(extract(extraction(parsed.bags, parsed), folder))
    wait_for_all()
    return folder


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, TrainConfig]:
    """Command-line arguments; settings that are not given are those of the recipe."""
    parser = argparse.ArgumentParser(prog='train', description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--bags', type=Path, metavar='DIR', help='train from this bag, or from all in this folder'
    )
    source.add_argument(
        '--recorded', type=Path, metavar='FOLDER', help='train from this recorded dataset'
    )
    source.add_argument(
        '--task', choices=list(ROOMS), default=argparse.SUPPRESS,
        help=f'train for this simulated task (default: {TrainConfig.task})',
    )  # fmt: skip
    run = parser.add_argument_group('run')
    run.add_argument(
        '--output', type=Path, default=Path('out/model'), metavar='FOLDER',
        help='model to write, with its report page (default: %(default)s)',
    )  # fmt: skip
    run.add_argument(
        '--work', type=Path, default=Path('out/train'), metavar='FOLDER',
        help='progress: the same command resumes from it (default: %(default)s)',
    )  # fmt: skip
    run.add_argument('--restart', action='store_true', help='forget earlier progress')
    run.add_argument(
        '--threads', type=int, default=1, metavar='N',
        help='CPU threads; the last digits of the weights depend on it (default: %(default)s)',
    )  # fmt: skip
    run.add_argument(
        '--tensorboard', action='store_true', help='write loss terms to the progress folder'
    )
    run.add_argument(
        '--device', default='cpu',
        help='train on this device, as cuda; simulated tasks on the CPU (default: %(default)s)',
    )  # fmt: skip
    _add_bag_options(parser)
    _add_settings(parser)
    parsed = parser.parse_args(arguments)
    given = {name: getattr(parsed, name) for name in settings() if hasattr(parsed, name)}
    if parsed.bags is None:
        foreign = _given_bag_options(parsed)
        if foreign:
            parser.error(f'{", ".join(map(_option, foreign))}: only with --bags')
    if parsed.bags is None and parsed.recorded is None:
        return parsed, replace(RECIPES[getattr(parsed, 'task', TrainConfig.task)], **given)
    foreign = [name for name in SIMULATED_ONLY if hasattr(parsed, name)]
    if foreign:
        parser.error(f'{", ".join(map(_option, foreign))}: of simulated tasks only')
    return parsed, replace(RECORDED, **given)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings of a run; those that are not given are missing from what is parsed."""
    group = parser.add_argument_group('settings', 'the defaults are those of the recipe')
    recipes = {**RECIPES, 'recorded': RECORDED}
    for field in fields(TrainConfig):
        if field.name == 'task':
            continue
        values = {task: getattr(recipe, field.name) for task, recipe in recipes.items()}
        default = str(field.default)
        others = [f'{task}: {value}' for task, value in values.items() if value != field.default]
        kind = type(field.default)
        group.add_argument(
            _option(field.name),
            type=kind,
            choices=list(PRECISIONS) if field.name == 'precision' else None,
            metavar=None if field.name == 'precision' else 'N' if kind is int else 'X',
            default=argparse.SUPPRESS,
            help=f'{field.metadata["help"]} (default: {", ".join([default, *others])})',
        )


def _option(name: str) -> str:
    return f'--{name.replace("_", "-")}'


def settings() -> list[str]:
    """Names of the settings of a run, besides its task."""
    return [field.name for field in fields(TrainConfig) if field.name != 'task']


def _add_bag_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; those that are not given are missing from what is parsed."""
    group = parser.add_argument_group(
        'bags', 'what to take from bags; how images and commands are paired is described in '
        'grasp_ros.training.data.pairing',
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    add = group.add_argument
    add('--image-topic', metavar='TOPIC', help='topic of the camera (default: image)')
    add('--action-topic', metavar='TOPIC', help='topic of the commands (default: command)')
    add('--action-names', nargs='+', metavar='NAME', help='components of a command: fields of a '
        'twist as linear.x, joints, or names for the numbers of an array (default: all that '
        'change)')  # fmt: skip
    add('--action-kind', choices=[kind.value for kind in ActionKind],
        help='quantity that a command is (default: velocity of twists, position of '
        'trajectories)')  # fmt: skip
    add('--action-units', nargs='+', metavar='UNIT',
        help='units of the components (default: m/s and rad/s of twists)')  # fmt: skip
    add('--action-low', nargs='+', type=float, metavar='X',
        help='lower limits of the components (default: the lowest that was recorded)')  # fmt: skip
    add('--action-high', nargs='+', type=float, metavar='X',
        help='upper limits of the components (default: the highest that was recorded)')  # fmt: skip
    add('--proprioception-topic', metavar='TOPIC',
        help="topic of proprioception, the robot's own state (default: none)")  # fmt: skip
    add('--proprioception-names', nargs='+', metavar='NAME', help='components of '
        'proprioception, as position.wrist or linear.x (default: positions of all joints, '
        'numbers of an array)')  # fmt: skip
    add('--clock', choices=('stamp', 'log'), help='time of a message: its header, or '
        'its recording (default: headers where images and commands have them)')  # fmt: skip
    add('--image-size', type=int, metavar='PX',
        help="side of the model's square images, a multiple of 16 (default: 64)")  # fmt: skip
    add('--image-fit', choices=('stretch', 'crop'), help='how images become square '
        '(default: stretch)')  # fmt: skip
    add('--model-dt', type=float, metavar='S',
        help='seconds of a model step (default: the camera period)')  # fmt: skip
    add('--frame-skip', type=int, metavar='N', help='commands in a model step (default: 1)')
    add('--lag', type=float, metavar='S',
        help="seconds from a command's time to its effect (default: 0)")  # fmt: skip
    add('--command-timeout', type=float, metavar='S', help='seconds without a command after which '
        'the robot stops by itself; 0 for never (default: 0.5)')  # fmt: skip
    add('--tolerance', type=float, metavar='X', help="largest deviation of a step's duration, as "
        'a fraction of it (default: 0.25)')  # fmt: skip


def _given_bag_options(parsed: argparse.Namespace) -> list[str]:
    """Names of the options that were given."""
    return [name for name in BAG_OPTIONS if hasattr(parsed, name)]


def extraction(bags: Path, parsed: argparse.Namespace) -> Extraction:
    """Extraction that the options ask for.

    Raises:
        ValueError: naming the option that makes no sense.
    """
    given = {name: getattr(parsed, name) for name in _given_bag_options(parsed)}
    size, fit = given.pop('image_size', 64), given.pop('image_fit', 'stretch')
    renamed = {'lag': 'lag_s', 'command_timeout': 'timeout_s'}
    values: dict[str, Any] = {
        renamed.get(name, name): tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    if 'action_kind' in values:
        values['action_kind'] = ActionKind(values['action_kind'])
    if size <= 0 or size % 16:
        raise ValueError(f'--image-size is {size}; it must be a multiple of 16')
    for name in ('model_dt', 'command_timeout', 'lag'):
        if not given.get(name, 1.0) >= 0:
            raise ValueError(f'--{name.replace("_", "-")} is {given[name]}; it must be at least 0')
    if values.get('frame_skip', 1) < 1:
        raise ValueError(f'--frame-skip is {values["frame_skip"]}; it must be at least 1')
    if not 0 < values.get('tolerance', 0.25) < 1:
        raise ValueError(f'--tolerance is {values["tolerance"]}; it must be between 0 and 1')
    values.setdefault('image_topic', 'image')
    values.setdefault('action_topic', 'command')
    return Extraction(bags, image=ImagePipeline(height=size, width=size, fit=fit), **values)


if __name__ == '__main__':
    sys.exit(main())
