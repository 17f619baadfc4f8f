"""The planner's parameters: one table makes declaration, checks and documentation."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import NonNegativeFloat, create_model

from grasp_ros.messages.commands import COMMAND_TYPES, TWIST_STAMPED
from grasp_ros.messages.proprioception import JOINT_STATE, PROPRIOCEPTION_TYPES
from grasp_ros.parameters.parameter import (
    RESERVED,
    OneOf,
    Parameter,
    ParameterGroup,
    from_values,
    parameter,
    rows,
    unknown_parameter,
)
from grasp_ros.planning.options import DistanceOptions, option_text
from grasp_ros.planning.registry import PLANNERS


class GoalParameters(ParameterGroup):
    """Parameters `goal.*`."""

    give_up_time: float = parameter(
        20.0, 'driven so long without coming nearer to the goal, the robot stops; 0 never',
        0, 3600, unit='s', live=True)
    hold_time: float = parameter(
        0.5, 'a goal of the action is reached once the robot has held it so long', 0, 60, unit='s')


class ImageParameters(ParameterGroup):
    """Parameters `image.*`."""

    compressed: bool = parameter(False, 'cameras send sensor_msgs/CompressedImage')


class GoalImageParameters(ParameterGroup):
    """Parameters `goal_image.*`."""

    compressed: bool = parameter(False, 'goal comes as sensor_msgs/CompressedImage')
    durability: Literal['volatile', 'transient_local'] = parameter(
        'volatile', 'of the goal subscription')


class ProprioceptionParameters(ParameterGroup):
    """Parameters `proprioception.*`."""

    type: Annotated[str, OneOf(PROPRIOCEPTION_TYPES)] = parameter(
        JOINT_STATE, 'message type on the topic proprioception, which models with proprioception '
        'subscribe to')
    fields: tuple[str, ...] = parameter(
        (), "field for each component of the model's proprioception, as velocity.<joint> of a "
        "JointState or linear.x; empty: the model's names")


class CommandParameters(ParameterGroup):
    """Parameters `command.*`."""

    type: Annotated[str, OneOf(COMMAND_TYPES)] = parameter(
        TWIST_STAMPED, 'message type of the command')
    fields: tuple[str, ...] = parameter(
        ('linear.x', 'linear.y'), 'field of a Twist for each component of the action')
    joint_names: tuple[str, ...] = parameter((), 'joint for each component, for JointTrajectory')
    frame_id: str = parameter('base_link', 'frame of the command')
    low: tuple[float, ...] = parameter(
        (), "tighter lower limits; empty: the model's", unit='of the action')
    high: tuple[float, ...] = parameter(
        (), "tighter upper limits; empty: the model's", unit='of the action')
    max_rate: tuple[NonNegativeFloat, ...] = parameter(
        (), 'largest change of each component per second; empty: unlimited', unit='of the action/s')
    conflict: Literal['stop', 'warn'] = parameter(
        'stop', 'what a second publisher on the topic does: stop the robot, or only warn',
        live=True)
    max_acceleration: tuple[NonNegativeFloat, ...] = parameter(
        (), 'largest change of that rate per second; empty: unlimited', unit='of the action/s^2')
    stop_decay: float = parameter(
        0.0, 'time in which a stop decays to zero; longer where the limits ask for it',
        0, 2, unit='s')


class DiagnosticsParameters(ParameterGroup):
    """Parameters `diagnostics.*`."""

    max_jitter: float = parameter(
        0.01, '99th percentile of the lateness of commands at which /diagnostics warns',
        0, 10, unit='s')
    max_prediction_error: float = parameter(
        3.0, 'imagined-versus-real error at which /diagnostics warns; twice that is an error; '
        '0 for never', 0, 1e6, unit='model steps of motion')
    hold_time: float = parameter(
        5.0, 'a level of /diagnostics is lowered after so long without cause', 0, 3600, unit='s')


class PlanningParameters(ParameterGroup):
    """Parameters `planner.*`, of whichever planner."""

    name: Annotated[str, OneOf(tuple(PLANNERS))] = parameter('grasp', 'which planner')
    horizon: int = parameter(50, 'length of a plan, T', 1, 10000, unit='model steps')
    horizon_mode: Literal['fixed', 'shrinking'] = parameter(
        'shrinking', 'fixed, or shrinking with the executed steps down to the floor')
    horizon_floor: int = parameter(8, 'smallest shrunken horizon', 1, 10000, unit='model steps')
    stall_time: float = parameter(
        2.0, 'without progress, a shrunken horizon is renewed', 0.1, 600, unit='s', live=True)
    replan_period: float = parameter(
        0.0, 'from the image behind a plan to that behind the next; 0: one model step where it '
        'holds several commands, else every image is planned from', 0, 60, unit='s')
    deadline: float = parameter(
        0.08, 'a solve returns its best plan so far after; 0: none', 0, 600, unit='s', live=True)
    hang_timeout: float = parameter(
        2.0, 'a solve that takes longer stops the robot; 0 never', 0, 600, unit='s', live=True)


class NodeParameters(ParameterGroup):
    """The parameters of the node that every planner has; `node_parameters` adds its options."""

    model: str = parameter('two_room', 'folder of a model, or the name of one that comes along')
    device: str = parameter(
        'auto', 'auto, cpu, cuda or cuda:N; auto takes a GPU where there is one')
    torch_threads: int = parameter(1, 'CPU threads of PyTorch', 1, 256)
    seed: int = parameter(0, 'of all randomness in planning', 0, 2**31 - 1)
    control_rate: float = parameter(
        10.0, 'commands per second; must be what the model was trained for', 0.1, 1000, unit='Hz')
    image_timeout: float = parameter(
        0.5, 'age at which an image is stale and the robot stops', 0.01, 60, unit='s', live=True)
    max_plan_age: float = parameter(
        1.0, 'age of the image behind a plan at which it expires', 0.01, 60, unit='s', live=True)
    planning_delay: float = parameter(
        0.08, 'from the start of planning to the first new action; where it is estimated, only '
        'until it was measured', 0, 10, unit='s')
    latency_compensation: Literal['estimated', 'constant'] = parameter(
        'estimated', 'plans start where the robot will be after the delay measured so far '
        '(estimated) or after planning_delay (constant: reproducible)')
    max_plan_defect: float = parameter(
        0.0, 'plans with a larger dynamics residual are refused; 0 for no bound',
        0, 1e9, unit='latent', live=True)
    goal_tolerance: float = parameter(
        1.0, 'the goal counts as reached within so many steps of motion; 0 never',
        0, 100, unit='model steps', live=True)
    goal: GoalParameters = GoalParameters()
    frozen_timeout: float = parameter(
        1.0, 'images that do not change in so long a time of commanded, visible motion stop the '
        'robot; 0 never', 0, 60, unit='s', live=True)
    frozen_tolerance: float = parameter(
        2.0, 'images that differ nowhere by more are the same; below the noise of a live camera',
        0, 255, unit='levels of 255', live=True)
    min_brightness: float = parameter(
        3.0, 'darker images stop the robot: mean', 0, 255, unit='levels of 255', live=True)
    min_contrast: float = parameter(
        3.0, 'images with less stop the robot: standard deviation',
        0, 255, unit='levels of 255', live=True)
    max_novelty: float = parameter(
        2.0, 'images more unlike the training data stop the robot; 1 is what 1 of 1000 familiar '
        'ones exceeds, and warns; 0 to measure nothing', 0, 1e6, live=True)
    novel_images: int = parameter(3, 'so many of them in a row', 1, 1000, live=True)
    dry_run: bool = parameter(
        False, 'plan and report, but command nothing; while active only switched on', live=True)
    image: ImageParameters = ImageParameters()
    goal_image: GoalImageParameters = GoalImageParameters()
    proprioception: ProprioceptionParameters = ProprioceptionParameters()
    sync_tolerance: float = parameter(
        0.05, 'what several cameras, or cameras and proprioception, gave counts as one '
        'observation if its stamps differ by no more', 0, 10, unit='s', live=True)
    command: CommandParameters = CommandParameters()
    diagnostics: DiagnosticsParameters = DiagnosticsParameters()
    trace_file: str = parameter(
        '', 'latency trace to write while active, Chrome-trace JSON; empty: none')
    planner: PlanningParameters = PlanningParameters()


REMOVED: dict[str, str] = {
    'grasp.patience': "leave it out, all 'grasp.iterations' are made",
    'grasp.least_gain': "leave it out, all 'grasp.iterations' are made",
    'grasp.keep': "leave it out, all 'grasp.candidates' go on to the end",
    'grasp.free_final_time': 'leave it out, plans have the whole horizon; '
    "'planner.horizon_mode' shrinking shortens it with the executed steps",
    'grasp.time_charge': "leave it out, it belonged to 'grasp.free_final_time'",
    **{
        f'{name}.manifold_weight': 'leave it out; how far a plan can be trusted is '
        'trust_horizon in ~/status'
        for name in PLANNERS
    },
}
"""Parameters of earlier versions, and what to do instead: the end of "... was removed: ..."."""


def _option_group(name: str) -> type[ParameterGroup]:
    """The options of the planner `name` as parameters `<name>.*`."""
    config = PLANNERS[name].config
    types = typing.get_type_hints(config)
    lines: dict[str, Any] = {}
    for option in fields(config):
        text = option_text(option.metadata)
        line = parameter(option.default, text.description, text.low, text.high)
        kind = types[option.name]
        lines[option.name] = (
            Annotated[kind, OneOf(text.choices)] if text.choices and kind is str else kind, line
        )
    doc = f'Parameters `{name}.*`.'
    return create_model(f'{name.title()}Options', __base__=ParameterGroup, __doc__=doc, **lines)


def _table_of(name: str, options: type[ParameterGroup]) -> type[NodeParameters]:
    group: Any = {name: (options, options())}
    return create_model(f'{name.title()}NodeParameters', __base__=NodeParameters, **group)


OPTIONS: Mapping[str, type[ParameterGroup]] = {name: _option_group(name) for name in PLANNERS}
"""By the planner's name, its options as a group of parameters."""

TABLES: Mapping[str, type[NodeParameters]] = {
    name: _table_of(name, options) for name, options in OPTIONS.items()
}
"""By the planner's name, all parameters of the node that selects it."""

PARAMETERS = rows(TABLES['grasp'])
"""Of the node with its default planner."""

KNOWN = tuple(
    row.name
    for found in (rows(NodeParameters), *(rows(OPTIONS[name], f'{name}.') for name in OPTIONS))
    for row in found
)
"""Names of all parameters, of whichever planner."""


def node_parameters(values: Mapping[str, Any]) -> NodeParameters:
    """The parameters of the node with the options of the planner that `planner.name` selects.

    Options of other planners are checked and left out, so that one file serves several planners.

    Args:
        values: by dotted name; defaults where none is given.

    Raises:
        ParameterError: naming the first that is unknown, of the wrong type or out of range.
    """
    values = {name: each for name, each in values.items() if not name.startswith(RESERVED)}
    for name in values:
        if name not in KNOWN:
            raise unknown_parameter(name, KNOWN, REMOVED)
    own = {name: each for name, each in values.items() if name.partition('.')[0] not in OPTIONS}
    selected = from_values(NodeParameters, own).planner.name
    for planner in OPTIONS:
        given = {
            name: each for name, each in values.items() if name.partition('.')[0] == planner
        }
        from_values(TABLES[planner], given)
        if planner == selected:
            own |= given
    return from_values(TABLES[selected], own)


def planner_options(params: NodeParameters) -> DistanceOptions:
    """The configuration of the selected planner; `params` are made by `node_parameters`."""
    name = params.planner.name
    return PLANNERS[name].config(**getattr(params, name).model_dump())


def markdown_table(table: Iterable[Parameter] = PARAMETERS) -> str:
    """The table of docs/parameters.md: all parameters of the node with its default planner."""
    lines = [
        '| parameter | type | default | unit | allowed | while active | meaning |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in table:
        default = row.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        lines.append(
            f'| `{row.name}` | {row.type_name} | `{shown}` | {row.unit} | {row.range_text} '
            f'| {"yes" if row.live else ""} | {row.description} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    print(markdown_table())
