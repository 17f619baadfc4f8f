"""Wrong parameters and models: is the culprit named, and does nothing move?"""

import gc
import hashlib
import json
import shutil
import signal

import pytest

pytest.importorskip('rclpy')

import torch
from rcl_interfaces.srv import GetParameters, ListParameters
from safetensors.torch import load_file, save_file

from grasp_ros.models.checkpoint import MANIFEST_NAME, PRETRAINED, WEIGHTS_NAME
from grasp_ros.node import planner as node
from grasp_ros.parameters.parameter import RESERVED, rows
from grasp_ros.parameters.table import PARAMETERS, REMOVED, TABLES
from harness.planner_process import planner, velocity
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

CUDA = 'cuda:99' if torch.cuda.is_available() else 'cuda'


@pytest.fixture
def own_signals():
    """Give the test's signal handlers back after a node has run in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ('override', 'expected'),
    [
        ('image_timout:=1.0', ["unknown parameter 'image_timout'", "mean 'image_timeout'?"]),
        ('horizon:=20', ["unknown parameter 'horizon'", "mean 'planner.horizon'?"]),
        ('zzzz:=1', ["unknown parameter 'zzzz'"]),
        ('image_timeout:=1', ["'image_timeout'", 'of type double', "'1.0'"]),
        ('planner.horizon:=20.0', ["'planner.horizon'", 'of type int']),
        ('dry_run:=1', ["'dry_run'", 'of type bool']),
        ('command.low:=[one, two]', ["'command.low'", 'of type double[]']),
        ('image_timeout:=-1.0', ["'image_timeout'", '[0.01, 60]', '-1.0']),
        ('planner.horizon:=0', ["'planner.horizon'", '[1, 10000]']),
        ('cem.samples:=0', ["'cem.samples'", 'allowed is']),
        ('planner.name:=grip', ["'planner.name' is 'grip'", 'grasp, greedy']),
    ],
)
def test_a_parameter_that_cannot_be_declared_ends_it(override, expected, capsys, own_signals):
    assert node.main(['--ros-args', '-p', override]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('planner: ')
    for text in expected:
        assert text in line


def test_a_removed_parameter_ends_it_with_what_to_do_instead(monkeypatch, capsys, own_signals):
    monkeypatch.setitem(REMOVED, 'grasp.old', "set 'grasp.new'")
    assert node.main(['--ros-args', '-p', 'grasp.old:=3']) == 2
    error = capsys.readouterr().err
    assert error == "planner: parameter 'grasp.old' was removed: set 'grasp.new'\n"


def test_a_node_that_cannot_be_made_leaves_the_graph(own_signals):
    gc.disable()  # what is left to the garbage collector may stay for minutes
    try:
        assert node.main(['--ros-args', '-p', 'image_timeout:=-1.0']) == 2
        with ros() as graph:
            watcher = graph.node('watcher')
            graph.spin_for(2.0)
            assert watcher.get_node_names() == ['watcher']
            assert not watcher.count_services('/planner/change_state')
    finally:
        gc.enable()


def test_the_same_in_a_process_has_exit_status_2_and_no_traceback(tmp_path):
    file = tmp_path / 'parameters.yaml'
    file.write_text('/**/planner:\n  ros__parameters:\n    planner: {horizn: 20}\n')
    with process('grasp_ros.node.planner', '--ros-args', '--params-file', str(file)) as child:
        assert child.wait(30.0) == 2
        (line,) = child.output.splitlines()
    assert line == "planner: unknown parameter 'planner.horizn'; did you mean 'planner.horizon'?"


@pytest.fixture(scope='module')
def process_of_planner():
    with planner() as bench:
        yield bench


@pytest.fixture
def bench(process_of_planner):
    """Return the planner unconfigured, with default parameters."""
    process_of_planner.prepare({})
    process_of_planner.new_output()
    return process_of_planner


def refused(bench, values):
    """Configuring fails and the node stays unconfigured and silent; return what it says."""
    bench.prepare(values)
    assert not bench.configure()
    assert bench.life == 'unconfigured'
    output = bench.new_output()
    assert 'Traceback' not in output, output
    errors = [line for line in output.splitlines() if '[ERROR]' in line]
    assert len(errors) == 1, output
    assert 'cannot configure: ' in errors[0]
    assert not bench.node.count_publishers('command')
    assert not bench.commands
    return output


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'control_rate': 20.0}, ["'control_rate' is 20 Hz", 'set it to 10']),
        ({'max_plan_age': 0.15}, ["'max_plan_age' is 0.15 s", 'set it to 0.3']),
        ({'device': CUDA}, [f"'device' is '{CUDA}'", "use 'cpu' or 'auto'"]),
        ({'device': 'gpu'}, ["'device' is 'gpu'", 'auto, cpu, cuda, cuda:N']),
        ({'planner.name': 'grip'}, ["'planner.name' is 'grip'", 'grasp, greedy']),
        ({'command.low': [0.0]}, ["'command.low' has 1 entries", '2: linear.x, linear.y']),
        ({'command.high': [-2.0, 1.0]}, ["'command.high'", 'leave no room']),
        (
            {'command.fields': ['linear.x', 'linear.w']},
            ["command.fields: a twist has no 'linear.w'", 'linear.x, linear.y'],
        ),
        ({'command.fields': ['linear.x']}, ['command.fields has 1 entries', '2 components']),
        (
            {'command.type': 'trajectory_msgs/msg/JointTrajectory'},
            ['command.joint_names has 0 entries', '2 components'],
        ),
        ({'command.type': 'std_msgs/msg/String'}, ["'command.type'", 'geometry_msgs/msg/Twist']),
        ({'model': 'tow_room'}, ["model 'tow_room'", 'two_room', WEIGHTS_NAME]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(bench, values, expected):
    output = refused(bench, values)
    for text in expected:
        assert text in output


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('image_timeout', 1, 'type'),
        ('image_timeout', 100.0, 'image_timeout'),
        ('planner.horizon', 0, 'planner.horizon'),
    ],
)
def test_setting_a_wrong_type_or_value_is_refused(bench, name, value, reason):
    (result,) = bench.set({name: value})
    assert not result.successful
    assert reason in result.reason


def test_every_parameter_has_a_value_that_can_be_read(bench):
    names = [row.name for row in PARAMETERS]
    values = bench.call(GetParameters, GetParameters.Request(names=names)).values
    assert len(values) == len(names)
    assert all(value.type for value in values)


@pytest.fixture
def model(tmp_path):
    """Copy the committed model."""
    return shutil.copytree(PRETRAINED / 'two_room', tmp_path / 'model')


def change_manifest(model, change):
    path = model / MANIFEST_NAME
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def without_weights(model):
    (model / WEIGHTS_NAME).unlink()


def truncated(model):
    path = model / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-1000])


def of_another_checksum(model):
    change_manifest(model, lambda manifest: manifest.update(weights_sha256='0' * 64))


def without_statistics(model):
    change_manifest(model, lambda manifest: manifest['action'].pop('std'))


def of_another_shape(model):
    change_manifest(model, lambda manifest: manifest['architecture'].update(hidden=100))


def without_manifest(model):
    (model / MANIFEST_NAME).unlink()


def with_a_broken_manifest(model):
    (model / MANIFEST_NAME).write_text('{"format": ')


def of_nan(model):
    path = model / WEIGHTS_NAME
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] = float('nan')
    save_file(weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_manifest(model, lambda manifest: manifest.update(weights_sha256=digest))


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (without_weights, [WEIGHTS_NAME, 'cannot be read: No such file']),
        (truncated, [WEIGHTS_NAME, 'SHA-256', 'truncated', 'copy both again']),
        (of_another_checksum, [WEIGHTS_NAME, 'SHA-256', '0' * 64, 'copy both again']),
        (without_statistics, [MANIFEST_NAME, 'action.std: Field required', 'train command']),
        (of_another_shape, [WEIGHTS_NAME, 'do not match the architecture', 'size mismatch']),
        (of_nan, [WEIGHTS_NAME, 'non-finite weights', 'copy the model again']),
        (without_manifest, [MANIFEST_NAME, 'give a folder that holds']),
        (with_a_broken_manifest, [MANIFEST_NAME, 'Invalid JSON']),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(bench, model, spoil, expected):
    spoil(model)
    output = refused(bench, {'model': str(model)})
    for text in [str(model), *expected]:
        assert text in output


def test_after_a_refusal_the_value_can_be_corrected(bench):
    refused(bench, {'control_rate': 20.0, 'command.high': [0.1]})
    assert bench.set({'control_rate': 10.0})[0].successful
    assert not bench.configure()
    assert "'command.high' has 1 entries" in bench.new_output()
    assert bench.set({'command.high': [0.1, 0.2]})[0].successful
    assert bench.configure(), bench.child.output
    bench.refresh()
    bench.run()
    for arrival in bench.commands:
        assert velocity(arrival.message)[0] <= 0.1 + 1e-9
        assert velocity(arrival.message)[1] <= 0.2 + 1e-9


def declared(bench):
    """Return the names that the node declares, without those of rclpy."""
    client = bench.node.create_client(ListParameters, 'planner/list_parameters')
    bench.until(client.service_is_ready)
    future = client.call_async(ListParameters.Request())
    bench.until(future.done)
    bench.node.destroy_client(client)
    names = future.result().result.names
    return {name for name in names if not name.startswith(RESERVED)}


def test_the_options_of_the_selected_planner_are_declared_and_no_others(bench):
    assert declared(bench) == {row.name for row in PARAMETERS}
    assert bench.set({'planner.name': 'cem'})[0].successful
    try:
        assert declared(bench) == {row.name for row in rows(TABLES['cem'])}
        assert bench.set({'cem.samples': 50})[0].successful
        assert not bench.set({'grasp.iterations': 3})[0].successful
        assert bench.configure(), bench.child.output
        bench.refresh()
        bench.run()
        assert bench.status.planner == 'cem'
    finally:
        bench.unconfigure()
        assert bench.set({'planner.name': 'grasp'})[0].successful
    assert declared(bench) == {row.name for row in PARAMETERS}
