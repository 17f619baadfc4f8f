"""Parameters from the node's YAML files without ROS, under the same table and checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from grasp_ros.parameters.parameter import ParameterError, rows
from grasp_ros.parameters.table import TABLES, NodeParameters, node_parameters

_DOUBLES = {row.name for table in TABLES.values() for row in rows(table) if row.element is float}


def read_parameters(
    path: Path | None, overrides: Iterable[str] = (), node: str = 'planner'
) -> NodeParameters:
    """The planner's parameters: defaults, changed by a parameter file, changed by overrides.

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
    return node_parameters({name: _with_numbers(name, each) for name, each in given.items()})


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


def _with_numbers(name: str, value: Any) -> Any:
    """The value with doubles where YAML 1.1 takes 1e-3 for a string; ROS does not."""
    if name not in _DOUBLES:
        return value
    return [_number(each) for each in value] if isinstance(value, list) else _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
