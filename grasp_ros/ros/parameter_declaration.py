"""Tables of parameters in ROS: declare them on a node and read them back; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from grasp_ros.parameters.parameter import (
    NO_ADVICE,
    Parameter,
    ParameterError,
    unknown_parameter,
)

_ROS_TYPES = {
    'bool': ParameterType.PARAMETER_BOOL,
    'int': ParameterType.PARAMETER_INTEGER,
    'double': ParameterType.PARAMETER_DOUBLE,
    'string': ParameterType.PARAMETER_STRING,
    'double[]': ParameterType.PARAMETER_DOUBLE_ARRAY,
    'string[]': ParameterType.PARAMETER_STRING_ARRAY,
}


def declare(node: Node, table: Iterable[Parameter]) -> None:
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


def read(node: Node, table: Iterable[Parameter]) -> dict[str, Any]:
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


def refuse_unknown(
    node: Node,
    overrides: Iterable[str],
    table: Iterable[Parameter],
    removed: Mapping[str, str] = NO_ADVICE,
) -> None:
    """Catch misspelt parameters in files and on the command line.

    Args:
        node: after `declare`.
        overrides: names that the user gave.
        table: where the nearest name is looked for.
        removed: what to do instead, for names that existed once.

    Raises:
        ParameterError: naming the unknown one and the nearest known name.
    """
    for name in overrides:
        if not node.has_parameter(name) and not name.startswith('qos_overrides.'):
            raise unknown_parameter(name, [row.name for row in table], removed)


def _integer_range(row: Parameter) -> list[IntegerRange]:
    if row.low is None or row.high is None:
        return []
    return [IntegerRange(from_value=int(row.low), to_value=int(row.high), step=0)]


def _float_range(row: Parameter) -> list[FloatingPointRange]:
    if row.low is None or row.high is None:
        return []
    return [FloatingPointRange(from_value=float(row.low), to_value=float(row.high), step=0.0)]


FREE = ('use_sim_time',)
"""Declared by rclpy, not by this package."""


def refusal(changes: Iterable[tuple[str, Any]], table: Iterable[Parameter]) -> str:
    """Why a configured node cannot take these changes; empty where it can.

    Args:
        changes: name and new value of each.
        table: of the parameters.
    """
    rows = {row.name: row for row in table}
    fixed = []
    for name, value in changes:
        row = rows.get(name)
        if row is None:
            if name not in FREE:
                fixed.append(name)
            continue
        if not row.live:
            fixed.append(name)
        elif name == 'dry_run' and not value:
            return (
                'dry_run is switched off only before configure, so that the robot does not start '
                'to move by surprise; deactivate and clean up the node first'
            )
        else:
            fault = row.fault(value)
            if fault:
                return fault
    if not fixed:
        return ''
    return f'{", ".join(fixed)}: read at configure; deactivate and clean up the node first'
