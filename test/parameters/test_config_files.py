"""Does the parameter file say what the table says?"""

from pathlib import Path

import pytest
import yaml

from grasp_ros.parameters.parameter import values_of
from grasp_ros.parameters.table import PARAMETERS, node_parameters

ROOT = Path(__file__).resolve().parents[2]
PARAMETER_FILES = sorted((ROOT / 'config').glob('*.yaml'))
TABLE = {row.name: row for row in PARAMETERS}


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
    params = values_of(node_parameters(parameters(file)))
    assert parameters(file).items() <= params.items()


def test_the_documented_file_holds_the_defaults():
    values = parameters(ROOT / 'config' / 'planner.yaml')
    assert values == {name: TABLE[name].default for name in values}
    undocumented = {name for name in TABLE if not name.startswith('grasp.')} - set(values)
    # These have no default that a file could state; comments show them.
    assert all(TABLE[name].default == [] for name in undocumented), undocumented
