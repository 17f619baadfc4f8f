"""Tables of parameters in ROS: declare them on a node and read them back; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from grasp_ros.parameters.parameter import RESERVED, Parameter, Table, from_values, rows
from grasp_ros.ros.rclpy_private import parameter_overrides

_ROS_TYPES = {
    'bool': ParameterType.PARAMETER_BOOL,
    'int': ParameterType.PARAMETER_INTEGER,
    'double': ParameterType.PARAMETER_DOUBLE,
    'string': ParameterType.PARAMETER_STRING,
    'double[]': ParameterType.PARAMETER_DOUBLE_ARRAY,
    'string[]': ParameterType.PARAMETER_STRING_ARRAY,
}


def declare_table(node: Node, table: type[Table]) -> Table:
    """Declare all of a table on a node that reads it once.

    Returns:
        The parameters that the user gave, defaults elsewhere.

    Raises:
        ParameterError: if one is unknown, of the wrong type or out of range; nothing is declared.
    """
    params = from_values(table, given_values(node))
    declare(node, rows(table))
    return params


def given_values(node: Node) -> dict[str, Any]:
    """The values that the user gave at start, in files or as arguments, by dotted name."""
    return {
        name: _plain(value)
        for name, value in parameter_overrides(node).items()
        if not name.startswith(RESERVED) and value is not None
    }


def declare(node: Node, table: Iterable[Parameter]) -> None:
    """Declare rows on `node`; the values that the user gave must have been checked."""
    for row in table:
        kind = _ROS_TYPES[row.type_name]
        descriptor = ParameterDescriptor(
            type=kind,
            description=f'{row.description} ({row.unit})' if row.unit else row.description,
            additional_constraints=row.range_text,
        )
        if row.type_name == 'int':
            descriptor.integer_range = _integer_range(row)
        elif row.type_name == 'double':
            descriptor.floating_point_range = _float_range(row)
        # An empty list says nothing about its elements' type: it is declared without a default,
        # and set with its type below.
        empty = isinstance(row.default, list) and not row.default
        default = RosParameter.Type(kind) if empty else row.default
        node.declare_parameter(row.name, default, descriptor)
        if empty and node.get_parameter_or(row.name).value is None:
            node.set_parameters([RosParameter(row.name, default, [])])


def read(node: Node, table: Iterable[Parameter]) -> dict[str, Any]:
    """Present values of declared rows by dotted name; the default where one has none."""
    values: dict[str, Any] = {}
    for row in table:
        value = node.get_parameter_or(row.name, RosParameter(row.name, value=None)).value
        values[row.name] = row.default if value is None else _plain(value)
    return values


def _plain(value: Any) -> Any:
    """A value of rclpy, whose arrays are no lists."""
    return value if isinstance(value, bool | int | float | str) else list(value)


def _integer_range(row: Parameter) -> list[IntegerRange]:
    if row.low is None or row.high is None:
        return []
    return [IntegerRange(from_value=int(row.low), to_value=int(row.high), step=0)]


def _float_range(row: Parameter) -> list[FloatingPointRange]:
    if row.low is None or row.high is None:
        return []
    return [FloatingPointRange(from_value=float(row.low), to_value=float(row.high), step=0.0)]
