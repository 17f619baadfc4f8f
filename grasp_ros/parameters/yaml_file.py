"""Parameter values from the node's YAML files without ROS, under the same table and checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from grasp_ros.parameters.parameter import Parameter, ParameterError, unknown_parameter
from grasp_ros.parameters.table import BASELINE_PARAMETERS, PARAMETERS, REMOVED

NOT_OURS = ('use_sim_time', 'qos_overrides.')
_TYPES = {'bool': bool, 'int': int, 'double': float, 'string': str}


def default_values() -> dict[str, Any]:
    """The default of every parameter of the planner."""
    return {row.name: row.default for row in PARAMETERS + BASELINE_PARAMETERS}


def read_values(
    path: Path | None, overrides: Iterable[str] = (), node: str = 'planner'
) -> dict[str, Any]:
    """Defaults, changed by a parameter file, changed by overrides.

    Args:
        path: of a file as `ros2 run ... --params-file` takes; None for none.
        overrides: as 'planner.horizon:=20', the value in YAML.
        node: its name; sections for other nodes are skipped.

    Raises:
        ParameterError: naming file or parameter.
    """
    given: dict[str, Any] = {}
    if path is not None:
        for section in _sections(path, node):
            given.update(_flat(section))
    for override in overrides:
        name, separator, text = override.partition(':=')
        if not separator:
            raise ParameterError(f'{override!r} is no override; write it as name:=value')
        given[name] = _yaml(text, f'override {override!r}')
    table = {row.name: row for row in PARAMETERS + BASELINE_PARAMETERS}
    values = default_values()
    for name, value in given.items():
        if name.startswith(NOT_OURS):
            continue
        if name not in table:
            raise unknown_parameter(name, table, REMOVED)
        values[name] = _checked(table[name], value)
    return values


def _sections(path: Path, node: str) -> Iterator[Mapping[str, Any]]:
    """The `ros__parameters` that are meant for the node, whatever its namespace."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f'{path}: cannot be read: {error}') from error
    content = _yaml(text, str(path))
    if not isinstance(content, dict):
        raise ParameterError(f'{path}: not a parameter file; it must begin with /**/{node}:')
    for key, section in content.items():
        if str(key).rsplit('/', 1)[-1] not in (node, '**'):
            continue
        if not isinstance(section, dict) or not isinstance(section.get('ros__parameters'), dict):
            raise ParameterError(f'{path}: under {key} there must be ros__parameters:')
        yield section['ros__parameters']


def _yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f'{origin}: not YAML: {error}') from error


def _flat(group: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in group.items():
        if isinstance(value, dict):
            values.update(_flat(value, f'{prefix}{key}.'))
        else:
            values[f'{prefix}{key}'] = value
    return values


def _checked(row: Parameter, value: Any) -> Any:
    """The value, of the row's type and in its range, as ROS would take it."""
    listed = isinstance(row.default, list)
    kind = _TYPES[row.type_name.removesuffix('[]')]
    elements = value if listed else [value]
    if kind is float and isinstance(elements, list):
        elements = [_number(element) for element in elements]
    if not isinstance(elements, list) or not all(type(element) is kind for element in elements):
        raise ParameterError(
            f'parameter {row.name!r} must be of type {row.type_name} '
            f"(doubles are written with a point, as '1.0'), not {value!r}"
        )
    value = elements if listed else elements[0]
    fault = row.fault(value)
    if fault:
        raise ParameterError(fault)
    return value


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a string; ROS does not."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
