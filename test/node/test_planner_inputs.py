"""What goes into and comes out of the planner over DDS: pictures of every kind, good and bad."""

import re
import time
from array import array

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from grasp_ros.msg import PlanStatus
from grasp_ros.ros.ros_messages import compressed_message, image_message, stamp_ns
from harness.camera import GOAL, PERIOD_S, START
from harness.planner_process import BUSY, LARGE_IMAGES, planner, speed

pytestmark = pytest.mark.ros

# Quick solves: how good the plans are is not judged here.
LIGHT = {
    **BUSY,
    'planner.horizon': 20,
    'planner.deadline': 0.0,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
}
PADDING = 7


@pytest.fixture(scope='module')
def process_of_planner():
    with planner(*LARGE_IMAGES) as bench:
        yield bench


@pytest.fixture(scope='module')
def raw(process_of_planner):
    """Return the planner configured for uncompressed pictures."""
    bench = process_of_planner
    bench.listen(TwistStamped)
    bench.film(Image)
    bench.restart(LIGHT)
    return bench


@pytest.fixture
def bench(raw):
    """Return the same, active with nothing known; warnings are not throttled by earlier ones."""
    raw.refresh()
    raw.new_output()
    return raw


@pytest.fixture(scope='module')
def compressed(process_of_planner):
    """Return the planner configured for compressed pictures."""
    bench = process_of_planner
    bench.listen(TwistStamped)
    bench.film(CompressedImage)
    bench.restart({**LIGHT, 'image.compressed': True, 'goal_image.compressed': True})
    return bench


@pytest.fixture
def small(compressed):
    """Return the same, active with nothing known."""
    compressed.refresh()
    compressed.new_output()
    return compressed


def padded(encoding):
    """Encode with bytes after each row that are no pixels."""

    def encode(picture, stamp, frame_id):
        message = image_message(picture, stamp, frame_id, encoding)
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        rows = np.pad(rows, ((0, 0), (0, PADDING)), constant_values=99)
        message.data = array('B', rows.tobytes())
        message.step += PADDING
        return message

    return encode


def runs(bench, encode, picture=START, goal=GOAL):
    """Pictures encoded so lead to plans and motion; return the status."""
    bench.camera.show(picture, encode)
    bench.camera.goal(goal, encode)
    bench.until_running()
    bench.until_planned()
    assert '[WARN]' not in bench.new_output()
    return bench.until_state(PlanStatus.RUNNING)


@pytest.fixture(scope='module')
def distance(raw):
    """Goal distance that the planner sees in the plain pictures, model steps."""
    raw.refresh()
    return runs(raw, image_message).goal_distance


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_every_encoding_and_row_padding_shows_the_same(bench, distance, encoding):
    status = runs(bench, padded(encoding))
    assert status.goal_distance == pytest.approx(distance, rel=1e-3)


def test_grey_pictures_give_plans(bench):
    runs(bench, padded('mono8'))


@pytest.mark.parametrize('size', [(128, 96), (640, 480)])
def test_other_resolutions_show_the_same(bench, distance, size):
    sharp = cv2.INTER_NEAREST  # what a camera with more pixels sees
    larger = [cv2.resize(picture, size, interpolation=sharp) for picture in (START, GOAL)]
    status = runs(bench, image_message, *larger)
    assert status.goal_distance == pytest.approx(distance, rel=0.02)


def changed(**fields):
    """Encode correctly, then change fields of the message."""

    def encode(picture, stamp, frame_id):
        message = image_message(picture, stamp, frame_id)
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    return encode


BAD = [
    (changed(height=0, width=0, step=0, data=array('B')), ['image is empty: 0 x 0 pixels']),
    (changed(step=100), ['step is 100 bytes', '64 pixels in rgb8', '192']),
    (changed(encoding='16UC1'), ["encoding '16UC1' is not supported", 'rgb8, bgr8']),
    (changed(encoding='yuv422_yuy2'), ["encoding 'yuv422_yuy2' is not supported"]),
    (changed(data=array('B', bytes(5000))), ['data has 5000 bytes', 'step of 192', '12288']),
]
BAD_NAMES = ['zero size', 'step', '16UC1', 'yuv', 'truncated']


@pytest.mark.parametrize(('encode', 'expected'), BAD, ids=BAD_NAMES)
def test_a_bad_picture_is_refused_and_good_ones_work_afterwards(bench, encode, expected):
    bench.camera.show(START, encode)
    bench.camera.goal()
    bench.until(lambda: len(bench.camera.sent) >= 5)
    assert bench.until_state(PlanStatus.WAITING_IMAGE)
    bad_goal_at = bench.child.output.count('[WARN]')
    bench.camera.goal(GOAL, encode)
    bench.until(lambda: bench.child.output.count('[WARN]') > bad_goal_at)
    assert not bench.commands and not bench.plans
    warnings = [line for line in bench.new_output().splitlines() if '[WARN]' in line]
    assert len(warnings) == 2, warnings  # of five pictures and one goal
    for warning, what in zip(warnings, ('image refused: ', 'goal image refused: '), strict=True):
        assert what in warning
        for text in expected:
            assert text in warning
    runs(bench, image_message)


def test_bad_pictures_in_mid_run_stop_the_robot_like_none(bench):
    runs(bench, image_message)
    bench.camera.show(START, changed(encoding='16UC1'))
    bench.until_state(PlanStatus.STALE_IMAGE)
    seen = len(bench.commands)
    bench.until(lambda: len(bench.commands) >= seen + 3)
    assert not any(speed(arrival.message) for arrival in bench.commands[seen:])
    bench.camera.show()
    bench.until_running()


def test_stamps_ahead_of_now_are_refused(bench):
    bench.camera.now_ns = lambda: time.time_ns() + 5 * 10**9
    bench.camera.show()
    bench.camera.goal()
    bench.until(lambda: len(bench.camera.sent) >= 5)
    assert bench.until_state(PlanStatus.WAITING_IMAGE)
    assert not bench.commands
    output = bench.new_output()
    assert output.count('[WARN]') == 1
    assert re.search(r'image refused: image stamp is [45]\.\d{3} s ahead of now', output)
    assert 'check the clocks' in output
    bench.camera.now_ns = time.time_ns
    runs(bench, image_message)


def test_zero_stamps_count_as_now_with_one_warning(bench):
    bench.camera.now_ns = lambda: 0
    bench.camera.show()
    bench.camera.goal()
    bench.until_running()
    bench.graph.spin_for(0.5)
    output = bench.new_output()
    assert output.count('[WARN]') == 1
    assert 'images carry no stamp; they count as acquired now' in output
    plan = bench.plans[-1].message
    assert abs(stamp_ns(plan.observation_stamp) - time.time_ns()) < 5 * 10**9
    bench.camera.make = None
    bench.until_state(PlanStatus.STALE_IMAGE)


@pytest.mark.parametrize('format', ['jpeg', 'png'])
def test_compressed_pictures_give_plans(small, format):
    def encode(picture, stamp, frame_id):
        return compressed_message(picture, stamp, frame_id, format)

    runs(small, encode)


def test_a_jpeg_cut_short_is_refused(small):
    def encode(picture, stamp, frame_id):
        message = compressed_message(picture, stamp, frame_id)
        message.data = message.data[: len(message.data) // 2]
        return message

    small.camera.show(START, encode)
    small.camera.goal(GOAL, encode)
    small.until(lambda: len(small.camera.sent) >= 5)
    assert small.until_state(PlanStatus.WAITING_IMAGE)
    output = small.new_output()
    assert 'image refused: the JPEG image is truncated' in output
    assert 'goal image refused: the JPEG image is truncated' in output
    assert not small.commands
    runs(small, compressed_message)


def test_a_corrupt_png_is_named_and_stops_the_robot(small):
    def encode(picture, stamp, frame_id):
        message = compressed_message(picture, stamp, frame_id, 'png')
        data = bytearray(message.data)
        data[60:-30] = bytes(len(data) - 90)  # the pixels only: no header shows it
        message.data = array('B', bytes(data))
        return message

    runs(small, compressed_message)
    small.camera.show(START, encode)
    status = small.until_state(PlanStatus.STALE_IMAGE)
    assert 'no usable image: ImageError: ' in status.reason
    assert "bytes (format 'png') are corrupt" in status.reason
    assert status.reason in small.new_output()
    seen = len(small.commands)
    small.until(lambda: len(small.commands) >= seen + 3)
    assert not any(speed(arrival.message) for arrival in small.commands[seen:])
    small.camera.show(START, compressed_message)
    small.until_running()
    assert 'Traceback' not in small.child.output


JOINTS = ['pan', 'tilt']


def of_twist(message):
    return [message.linear.x, message.angular.z]


def of_trajectory(message):
    (point,) = message.points
    assert list(message.joint_names) == JOINTS
    assert not (point.positions or point.effort)
    assert point.time_from_start.nanosec == round(PERIOD_S * 1e9)
    return list(point.velocities)


def of_array(message):
    return list(message.data)


@pytest.mark.parametrize(
    ('name', 'message_type', 'values_of', 'values'),
    [
        (
            'geometry_msgs/msg/Twist',
            Twist,
            of_twist,
            {'command.fields': ['linear.x', 'angular.z']},
        ),
        (
            'trajectory_msgs/msg/JointTrajectory',
            JointTrajectory,
            of_trajectory,
            {'command.joint_names': JOINTS},
        ),
        ('std_msgs/msg/Float64MultiArray', Float64MultiArray, of_array, {}),
    ],
    ids=['Twist', 'JointTrajectory', 'Float64MultiArray'],
)
def test_commands_of_another_type(process_of_planner, name, message_type, values_of, values):
    bench = process_of_planner
    bench.listen(message_type)
    bench.film(Image)
    bench.restart({**LIGHT, **values, 'command.type': name})
    bench.camera.show()
    bench.camera.goal()
    bench.until(lambda: any(any(values_of(a.message)) for a in bench.commands))
    bench.until(lambda: len(bench.plans) >= 2)
    planned = np.concatenate([np.reshape(a.message.actions, (-1, 2)) for a in bench.plans])
    moving = next(values_of(a.message) for a in bench.commands if any(values_of(a.message)))
    assert np.abs(planned - moving).max(axis=1).min() < 1e-6
    assert bench.deactivate()
    bench.until(lambda: values_of(bench.commands[-1].message) == [0.0, 0.0])
