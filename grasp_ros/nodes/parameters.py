"""The planner node's parameters: one table makes declaration, validation and documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, cast

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from grasp_ros.planners.options import option_text
from grasp_ros.planners.registry import PLANNERS

Value = bool | int | float | str | list[float] | list[str]


class ParameterError(ValueError):
    """A parameter cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: dotted.
        default: its type is the parameter's type; a list's type is given by `element`.
        description: for people, with the unit.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        choices: the strings allowed; empty for any.
        element: type of a list's elements.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    element: type = float

    @property
    def type_name(self) -> str:
        """Type as ROS users write it."""
        if isinstance(self.default, list):
            return {float: 'double[]', str: 'string[]'}[self.element]
        return {bool: 'bool', int: 'int', float: 'double', str: 'string'}[type(self.default)]

    @property
    def range_text(self) -> str:
        """The allowed values, for people."""
        if self.choices:
            return ', '.join(self.choices)
        if self.low is None and self.high is None:
            return ''
        form = 'd' if isinstance(self.default, int) else 'g'
        low = '-inf' if self.low is None else f'{self.low:{form}}'
        high = 'inf' if self.high is None else f'{self.high:{form}}'
        return f'[{low}, {high}]'

    def fault(self, value: Any) -> str | None:
        """Why `value` cannot be used, or None."""
        values = value if isinstance(value, list) else [value]
        for single in values:
            if isinstance(single, float) and not math.isfinite(single):
                return f'parameter {self.name!r} is {single}; give a finite number'
            too_low = self.low is not None and single < self.low
            if too_low or (self.high is not None and single > self.high):
                return f'parameter {self.name!r} is {single}; allowed is {self.range_text}'
        if self.choices and value not in self.choices:
            return f'parameter {self.name!r} is {value!r}; allowed: {self.range_text}'
        return None


def planner_parameters(name: str) -> tuple[Parameter, ...]:
    """The options of the planner `name`, as `<name>.<option>`."""
    return tuple(
        Parameter(
            f'{name}.{option.name}',
            cast(Value, option.default),
            text.description,
            text.low,
            text.high,
            text.choices,
        )
        for option in fields(PLANNERS[name].config)
        for text in [option_text(option.metadata)]
    )


PARAMETERS: tuple[Parameter, ...] = (
    Parameter('model', 'two_room', 'folder of a model, or the name of one that comes along'),
    Parameter('device', 'auto', 'auto, cpu, cuda or cuda:N; auto takes a GPU where there is one'),
    Parameter('torch_threads', 1, 'CPU threads of PyTorch', 1, 256),
    Parameter('seed', 0, 'of all randomness in planning', 0, 2**31 - 1),
    Parameter(
        'control_rate', 10.0, 'commands per second, Hz; must be what the model was trained for',
        0.1, 1000,
    ),
    Parameter('image_timeout', 0.5, 'age at which an image is stale and the robot stops, s',
              0.01, 60),
    Parameter('max_plan_age', 1.0, 'age of the image behind a plan at which it expires, s',
              0.01, 60),
    Parameter('planning_delay', 0.08, 'from the start of planning to the first new action, s',
              0, 10),
    Parameter('max_plan_defect', 0.0,
              'plans with a larger dynamics residual are refused, latent units; 0 for no bound',
              0, 1e9),
    Parameter('goal_tolerance', 1.0,
              'the goal counts as reached within so many model steps of motion; 0 never', 0, 100),
    Parameter('dry_run', False, 'plan and report, but command nothing'),
    Parameter('image.compressed', False, 'camera sends sensor_msgs/CompressedImage'),
    Parameter('goal_image.compressed', False, 'goal comes as sensor_msgs/CompressedImage'),
    Parameter('goal_image.durability', 'volatile', 'of the goal subscription',
              choices=('volatile', 'transient_local')),
    Parameter('command.type', 'geometry_msgs/msg/TwistStamped', 'message type of the command',
              choices=('geometry_msgs/msg/TwistStamped', 'geometry_msgs/msg/Twist',
                       'trajectory_msgs/msg/JointTrajectory', 'std_msgs/msg/Float64MultiArray')),
    Parameter('command.fields', ['linear.x', 'linear.y'],
              'field of a Twist for each component of the action', element=str),
    Parameter('command.joint_names', [], 'joint for each component, for JointTrajectory',
              element=str),
    Parameter('command.frame_id', 'base_link', 'frame of the command'),
    Parameter('command.low', [], "tighter lower limits, the action's units; empty: the model's"),
    Parameter('command.high', [], "tighter upper limits, the action's units; empty: the model's"),
    Parameter('command.max_rate', [],
              'largest change of each component per second, its unit/s; empty: unlimited', 0),
    Parameter('command.stop_decay', 0.0, 'time in which a stop decays to zero, s', 0, 2),
    Parameter('planner.name', 'grasp', 'which planner', choices=tuple(PLANNERS)),
    Parameter('planner.horizon', 50, 'T, model steps', 1, 10000),
    Parameter('planner.horizon_mode', 'shrinking',
              'fixed, or shrinking with the executed steps down to the floor',
              choices=('fixed', 'shrinking')),
    Parameter('planner.horizon_floor', 8, 'smallest shrunken horizon, model steps', 1, 10000),
    Parameter('planner.stall_time', 2.0, 'without progress, a shrunken horizon is renewed, s',
              0.1, 600),
    Parameter('planner.deadline', 0.08, 'a solve returns its best plan so far after, s; 0: none',
              0, 600),
    *planner_parameters('grasp'),
)

RIVAL_PARAMETERS: tuple[Parameter, ...] = tuple(
    row for name in PLANNERS if name != 'grasp' for row in planner_parameters(name)
)

_ROS_TYPES = {
    'bool': ParameterType.PARAMETER_BOOL,
    'int': ParameterType.PARAMETER_INTEGER,
    'double': ParameterType.PARAMETER_DOUBLE,
    'string': ParameterType.PARAMETER_STRING,
    'double[]': ParameterType.PARAMETER_DOUBLE_ARRAY,
    'string[]': ParameterType.PARAMETER_STRING_ARRAY,
}


def declare(node: Node, table: Iterable[Parameter] = PARAMETERS + RIVAL_PARAMETERS) -> None:
    """Declare every parameter of the table on `node`.

    Raises:
        ParameterError: if an override has the wrong type or is out of range.
    """
    for row in table:
        kind = _ROS_TYPES[row.type_name]
        descriptor = ParameterDescriptor(
            type=kind,
            description=row.description,
            additional_constraints=row.range_text,
        )
        if isinstance(row.default, int) and not isinstance(row.default, bool):
            descriptor.integer_range = _integer_range(row)
        elif isinstance(row.default, float):
            descriptor.floating_point_range = _float_range(row)
        # An empty list says nothing about its elements' type: it is declared without a default,
        # and set with its type below.
        empty = isinstance(row.default, list) and not row.default
        default = RosParameter.Type(kind) if empty else row.default
        try:
            node.declare_parameter(row.name, default, descriptor)
        except InvalidParameterTypeException as error:
            raise ParameterError(
                f'parameter {row.name!r} must be of type {row.type_name} '
                f"(doubles are written with a point, as '1.0'): {error}"
            ) from error
        except InvalidParameterValueException as error:
            raise ParameterError(
                f'parameter {row.name!r}: allowed is {row.range_text}: {error}'
            ) from error
        if empty and node.get_parameter_or(row.name).value is None:
            node.set_parameters([RosParameter(row.name, default, [])])


def read(
    node: Node, table: Iterable[Parameter] = PARAMETERS + RIVAL_PARAMETERS
) -> dict[str, Any]:
    """Values of the table's parameters by name, validated.

    Raises:
        ParameterError: naming the first that cannot be used.
    """
    values: dict[str, Any] = {}
    for row in table:
        value = node.get_parameter_or(row.name, RosParameter(row.name, value=None)).value
        if value is None:
            value = row.default
        elif isinstance(row.default, list):
            value = list(value)
        values[row.name] = value
        fault = row.fault(values[row.name])
        if fault:
            raise ParameterError(fault)
    return values


def refuse_unknown(node: Node, overrides: Iterable[str]) -> None:
    """Catch misspelt parameters in files and on the command line.

    Args:
        node: after `declare`.
        overrides: names that the user gave.

    Raises:
        ParameterError: naming the unknown one and the nearest known name.
    """
    known = [row.name for row in PARAMETERS + RIVAL_PARAMETERS]
    for name in overrides:
        if node.has_parameter(name) or name.startswith('qos_overrides.'):
            continue
        near = get_close_matches(name, known, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        raise ParameterError(f'unknown parameter {name!r}{hint}')


def markdown_table(table: Iterable[Parameter] = PARAMETERS) -> str:
    """The table for the README."""
    lines = ['| parameter | type | default | allowed | meaning |', '|---|---|---|---|---|']
    for row in table:
        default = row.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        lines.append(
            f'| `{row.name}` | {row.type_name} | `{shown}` | {row.range_text} '
            f'| {row.description} |'
        )
    return '\n'.join(lines)


def _integer_range(row: Parameter) -> list[IntegerRange]:
    if row.low is None or row.high is None:
        return []
    return [IntegerRange(from_value=int(row.low), to_value=int(row.high), step=0)]


def _float_range(row: Parameter) -> list[FloatingPointRange]:
    if row.low is None or row.high is None:
        return []
    return [FloatingPointRange(from_value=float(row.low), to_value=float(row.high), step=0.0)]


if __name__ == '__main__':
    print(markdown_table())
