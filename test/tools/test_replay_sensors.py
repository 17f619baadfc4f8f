"""Replay of two cameras and joint states, as the node would have seen them."""

import json

import numpy as np
import pytest

from grasp_ros.bags.message_types import IMAGE, header, make_message
from grasp_ros.bags.writer import BagWriter
from grasp_ros.messages.proprioception import JOINT_STATE
from grasp_ros.tools import replay
from harness.sensor_models import CAMERAS, goal, shown, write_model

MILLISECOND = 10**6
SECOND = 10**9
CHEAP = ('planner.horizon:=6', 'grasp.iterations:=1', 'grasp.proposals:=0', 'goal_tolerance:=0.0',
         'frozen_timeout:=0.0')  # fmt: skip


def image(picture, stamp):
    height, width = picture.shape[:2]
    return make_message(
        IMAGE, header=header(stamp, ''), height=height, width=width, step=3 * width,
        encoding='rgb8', data=picture.reshape(-1),
    )  # fmt: skip


def joints(stamp, velocity):
    return make_message(
        JOINT_STATE, header=header(stamp, ''), name=['elbow', 'shoulder'],
        position=[], velocity=[velocity, 0.2], effort=[],
    )  # fmt: skip


def write_bag(path, proprioception_until_s=9.0, velocity=0.1):
    """Two seconds: cameras at 10 Hz, the right one 10 ms later, joints at 50 Hz."""
    messages = [(SECOND, '/goal_image', image(goal(), SECOND))]
    for index in range(20):
        for late, camera in enumerate(CAMERAS):
            stamp = SECOND + (100 * index + 10 * late) * MILLISECOND
            messages.append((stamp + 5 * MILLISECOND, f'/image/{camera}',
                             image(shown(camera), stamp)))  # fmt: skip
    for index in range(100):
        stamp = SECOND + 20 * index * MILLISECOND
        if stamp < SECOND + proprioception_until_s * SECOND:
            messages.append((stamp, '/proprioception', joints(stamp, velocity)))
    with BagWriter(path) as bag:
        for time_ns, topic, message in sorted(messages, key=lambda item: item[0]):
            kind = JOINT_STATE if topic == '/proprioception' else IMAGE
            bag.write(topic, kind, time_ns, message)
    return path


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'))


def run(model, bag, output, *arguments):
    chosen = [f'--param={value}' for value in (f'model:={model}', *CHEAP)]
    status = replay.main([str(bag), '--output', str(output), *chosen, *arguments])
    report = output / 'report.json'
    return status, json.loads(report.read_text()) if report.exists() else None


def test_all_sensors_together_drive(model, tmp_path):
    status, report = run(model, write_bag(tmp_path / 'bag'), tmp_path / 'out')
    assert status == 0
    assert report['images'] == {'received': 40, 'refused': {}}
    assert report['plans']['made'] == 20, 'one for each pair of pictures, none for joints alone'
    assert report['states']['RUNNING'] > 10


def test_without_joints_the_robot_stops_and_the_reason_names_them(model, tmp_path):
    bag = write_bag(tmp_path / 'bag', proprioception_until_s=1.0)
    report = run(model, bag, tmp_path / 'out')[1]
    last = report['stops'][-1]
    assert last['state'] == 'STALE_IMAGE'
    assert 'proprioception is ' in last['reason'] and ' s behind' in last['reason']
    assert 1.4 < last['from_s'] < 1.7


def test_proprioception_changes_the_commands_and_is_refused_where_it_is_not_finite(model, tmp_path):
    hashes = set()
    for velocity in (0.1, 1.0):
        bag = write_bag(tmp_path / f'bag{velocity}', velocity=velocity)
        report = run(model, bag, tmp_path / f'out{velocity}')[1]
        hashes.add(report['commands']['sha256'])
    assert len(hashes) == 2
    bad = run(model, write_bag(tmp_path / 'bad', velocity=np.nan), tmp_path / 'out')[1]
    (reason,) = bad['images']['refused']
    assert 'proprioception is not finite: velocity.elbow' in reason
    assert bad['plans']['made'] == 0


def test_missing_topics_are_named(model, tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag')
    assert run(model, bag, tmp_path / 'out', '--image-topic', 'image/left')[0] == 2
    assert 'the model has 2 cameras: left, right' in capsys.readouterr().err
    assert run(model, bag, tmp_path / 'out', '--proprioception-topic', 'joint_states')[0] == 2
    assert 'no message on /joint_states' in capsys.readouterr().err


def test_other_topics_can_be_named(model, tmp_path):
    arguments = ('--image-topic', 'image/right', 'image/left')
    status, report = run(model, write_bag(tmp_path / 'bag'), tmp_path / 'out', *arguments)
    assert status == 0 and report['states']['RUNNING'] > 10
