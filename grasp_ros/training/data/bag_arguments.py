"""Command-line options that say what to take from bags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.training.data.extract import Extraction

OPTIONS = (
    'image_topic', 'action_topic', 'action_names', 'action_kind', 'action_units', 'action_low',
    'action_high', 'proprioception_topic', 'proprioception_names', 'clock', 'image_size',
    'image_fit', 'model_dt', 'frame_skip', 'lag', 'command_timeout', 'tolerance',
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; those that are not given are missing from what is parsed."""
    group = parser.add_argument_group(
        'bags', 'what to take from bags; how images and commands are paired is described in '
        'grasp_ros.training.data.pairing',
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    add = group.add_argument
    add('--image-topic', metavar='TOPIC', help='of the camera (default: image)')
    add('--action-topic', metavar='TOPIC', help='of the commands (default: command)')
    add('--action-names', nargs='+', metavar='NAME', help='components of a command: fields of a '
        'twist as linear.x, joints, or names for the numbers of an array (default: all that '
        'change)')  # fmt: skip
    add('--action-kind', choices=[kind.value for kind in ActionKind],
        help='(default: twists are velocities, trajectories positions)')  # fmt: skip
    add('--action-units', nargs='+', metavar='UNIT', help='(default: m/s and rad/s of twists)')
    add('--action-low', nargs='+', type=float, metavar='X',
        help='lower limits of the components (default: the lowest that was recorded)')  # fmt: skip
    add('--action-high', nargs='+', type=float, metavar='X', help='upper limits')
    add('--proprioception-topic', metavar='TOPIC', help='of what the robot feels (default: none)')
    add('--proprioception-names', nargs='+', metavar='NAME', help='components of it, as '
        'position.wrist or linear.x (default: positions of all joints, numbers of an array)')
    add('--clock', choices=('stamp', 'log'), help='time of headers, or of the recording '
        '(default: headers where images and commands have them)')  # fmt: skip
    add('--image-size', type=int, metavar='PX',
        help="side of the model's pictures, a multiple of 16 (default: 64)")  # fmt: skip
    add('--image-fit', choices=('stretch', 'crop'), help='how pictures become square '
        '(default: stretch)')  # fmt: skip
    add('--model-dt', type=float, metavar='S',
        help='seconds of a model step (default: the camera period)')  # fmt: skip
    add('--frame-skip', type=int, metavar='N', help='commands in a step (default: 1)')
    add('--lag', type=float, metavar='S', help="from a command's time to its effect (default: 0)")
    add('--command-timeout', type=float, metavar='S', help='without a command for so long the '
        'robot stops by itself; 0 for never (default: 0.5)')  # fmt: skip
    add('--tolerance', type=float, metavar='X', help="largest deviation of a step's duration, as "
        'a fraction of it (default: 0.25)')  # fmt: skip


def given_options(parsed: argparse.Namespace) -> list[str]:
    """Names of the options that were given."""
    return [name for name in OPTIONS if hasattr(parsed, name)]


def extraction(bags: Path, parsed: argparse.Namespace) -> Extraction:
    """What the options ask for.

    Raises:
        ValueError: naming the option that makes no sense.
    """
    given = {name: getattr(parsed, name) for name in given_options(parsed)}
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
