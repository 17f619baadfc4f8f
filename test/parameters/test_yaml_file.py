"""Does a parameter file mean the same without ROS?"""

from pathlib import Path

import pytest

from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import BASELINE_PARAMETERS, PARAMETERS, REMOVED
from grasp_ros.parameters.yaml_file import default_values, read_values

ROOT = Path(__file__).resolve().parents[2]


def write(tmp_path, text):
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    return path


def test_the_documented_file_holds_the_defaults():
    assert read_values(ROOT / 'config' / 'planner.yaml') == default_values() == read_values(None)


def test_sections_for_the_node_in_any_namespace_count_and_later_ones_win(tmp_path):
    path = write(
        tmp_path,
        '/**: {ros__parameters: {seed: 1, use_sim_time: true}}\n'
        '/robot/planner: {ros__parameters: {grasp: {iterations: 9}, planner.horizon: 20}}\n'
        'camera: {ros__parameters: {nonsense: 1}}\n',
    )
    values = read_values(path, ['seed:=3', 'command.low:=[-0.5, -0.5]', 'image_timeout:=1e-1'])
    assert (values['grasp.iterations'], values['planner.horizon'], values['seed']) == (9, 20, 3)
    assert values['command.low'] == [-0.5, -0.5]
    assert values['image_timeout'] == 0.1
    assert len(values) == len(default_values())


@pytest.mark.parametrize(
    ('override', 'fault'),
    [
        ('horizn:=3', "unknown parameter 'horizn'"),
        ('image_timeout:=1', "'image_timeout' must be of type double"),
        ('image_timeout:=-1.0', r"'image_timeout' is -1.0; allowed is \[0.01, 60\]"),
        ('planner.horizon:=2.0', "'planner.horizon' must be of type int"),
        ('dry_run:=1', "'dry_run' must be of type bool"),
        ('command.low:=1.0', r"'command.low' must be of type double\[\]"),
        ('planner.name:=grip', "'planner.name' is 'grip'"),
        ('seed:=[', 'not YAML'),
        ('seed=3', 'name:=value'),
    ],
)
def test_what_the_node_would_refuse_is_refused(override, fault):
    with pytest.raises(ParameterError, match=fault):
        read_values(None, [override])


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('- 1', 'not a parameter file'),
        ('/**/planner: {seed: 1}', 'ros__parameters'),
        ('/**/planner: [', 'not YAML'),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, text, fault):
    with pytest.raises(ParameterError, match=fault) as caught:
        read_values(write(tmp_path, text))
    assert 'parameters.yaml' in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r'missing\.yaml: cannot be read'):
        read_values(tmp_path / 'missing.yaml')


def test_a_removed_parameter_is_refused_with_what_to_do_instead(monkeypatch):
    monkeypatch.setitem(REMOVED, 'grasp.old', "set 'grasp.new'")
    with pytest.raises(ParameterError) as caught:
        read_values(None, ['grasp.old:=3'])
    assert str(caught.value) == "parameter 'grasp.old' was removed: set 'grasp.new'"


@pytest.mark.parametrize(
    ('name', 'instead'),
    [
        ('grasp.patience', 'grasp.iterations'),
        ('grasp.least_gain', 'grasp.iterations'),
        ('grasp.keep', 'grasp.candidates'),
        ('grasp.free_final_time', 'planner.horizon_mode'),
        ('grasp.time_charge', 'grasp.free_final_time'),
        ('grasp.manifold_weight', 'trust_horizon'),
        ('cem.manifold_weight', 'trust_horizon'),
    ],
)
def test_a_file_with_what_gained_nothing_is_told_what_to_do(tmp_path, name, instead):
    group, option = name.split('.')
    path = write(tmp_path, f'/**/planner: {{ros__parameters: {{{group}: {{{option}: 1}}}}}}')
    with pytest.raises(ParameterError, match=f"'{name}' was removed: .*{instead}"):
        read_values(path)


def test_no_parameter_is_both_there_and_removed():
    assert not REMOVED.keys() & {row.name for row in PARAMETERS + BASELINE_PARAMETERS}
