"""Does a parameter file mean the same without ROS?"""

from pathlib import Path

import pytest

from grasp_ros.parameters.parameter import ParameterError, values_of
from grasp_ros.parameters.table import REMOVED, node_parameters, planner_options
from grasp_ros.parameters.yaml_file import read_parameters

ROOT = Path(__file__).resolve().parents[2]


def write(tmp_path, text):
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    return path


def test_the_documented_file_holds_the_defaults():
    assert read_parameters(ROOT / 'config' / 'planner.yaml') == node_parameters({})


def test_sections_for_the_node_in_any_namespace_count_and_later_ones_win(tmp_path):
    path = write(
        tmp_path,
        '/**: {ros__parameters: {seed: 1, use_sim_time: true}}\n'
        '/robot/planner: {ros__parameters: {grasp: {iterations: 9}, planner.horizon: 20}}\n'
        'camera: {ros__parameters: {nonsense: 1}}\n',
    )
    params = read_parameters(path, ['seed:=3', 'command.low:=[-0.5, -0.5]', 'image_timeout:=1e-1'])
    assert (planner_options(params).iterations, params.planner.horizon, params.seed) == (9, 20, 3)
    assert params.command.low == (-0.5, -0.5)
    assert params.image_timeout == 0.1
    assert values_of(params).keys() == values_of(node_parameters({})).keys()


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
        read_parameters(None, [override])


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
        read_parameters(write(tmp_path, text))
    assert 'parameters.yaml' in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r'missing\.yaml: cannot be read'):
        read_parameters(tmp_path / 'missing.yaml')


def test_a_removed_parameter_is_refused_with_what_to_do_instead(monkeypatch):
    monkeypatch.setitem(REMOVED, 'grasp.old', "set 'grasp.new'")
    with pytest.raises(ParameterError) as caught:
        read_parameters(None, ['grasp.old:=3'])
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
        read_parameters(path)


def test_one_file_serves_several_planners(tmp_path):
    path = write(
        tmp_path,
        '/**/planner: {ros__parameters: {cem: {samples: 99}, grasp: {iterations: 9}}}\n',
    )
    grasp = read_parameters(path)
    assert planner_options(grasp).iterations == 9
    assert not any(name.startswith('cem.') for name in values_of(grasp))
    cem = read_parameters(path, ['planner.name:=cem'])
    assert planner_options(cem).samples == 99
    assert not any(name.startswith('grasp.') for name in values_of(cem))


@pytest.mark.parametrize(
    ('override', 'fault'),
    [
        ('cem.samples:=1.5', "'cem.samples' must be of type int"),
        ('cem.samplse:=9', "unknown parameter 'cem.samplse'; did you mean 'cem.samples'"),
    ],
)
def test_options_of_planners_that_are_not_selected_are_checked(override, fault):
    with pytest.raises(ParameterError, match=fault):
        read_parameters(None, ['planner.name:=grasp', override])
