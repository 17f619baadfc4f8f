"""Does the parameter file say what the table says?"""

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

from grasp_ros.parameters.table import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
PARAMETER_FILES = sorted((ROOT / 'config').glob('*.yaml'))
TABLE = {row.name: row for row in PARAMETERS}
TYPES = {'bool': bool, 'int': int, 'double': float, 'string': str}


def flat(group, prefix=''):
    """Values by dotted name."""
    values = {}
    for key, value in group.items():
        if isinstance(value, dict):
            values.update(flat(value, f'{prefix}{key}.'))
        else:
            values[prefix + key] = value
    return values


def parameters(file):
    """Content of a parameter file for the planner; nothing else may be in it."""
    content = yaml.safe_load(file.read_text())
    assert list(content) == ['/**/planner']
    assert list(content['/**/planner']) == ['ros__parameters']
    return flat(content['/**/planner']['ros__parameters'])


@pytest.mark.parametrize('file', PARAMETER_FILES, ids=lambda file: file.name)
def test_parameter_files_hold_what_the_planner_takes(file):
    for name, value in parameters(file).items():
        assert name in TABLE, f'{name} is no parameter'
        kind = TABLE[name].type_name
        elements = value if kind.endswith('[]') else [value]
        assert isinstance(elements, list), f'{name} must be a list'
        for element in elements:
            assert type(element) is TYPES[kind.removesuffix('[]')], f'{name} must be {kind}'
        assert TABLE[name].fault(value) is None


def test_the_documented_file_holds_the_defaults():
    values = parameters(ROOT / 'config' / 'planner.yaml')
    assert values == {name: TABLE[name].default for name in values}
    undocumented = {name for name in TABLE if not name.startswith('grasp.')} - set(values)
    # These have no default that a file could state; comments show them.
    assert all(TABLE[name].default == [] for name in undocumented), undocumented
