"""Do messages carry what the plain data says, and are wrong settings named?"""

import pytest

pytest.importorskip('rclpy')

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from grasp_ros.messages.commands import CommandLayout
from grasp_ros.messages.images import CHANNELS, ImageError
from grasp_ros.models.action_space import ActionKind
from grasp_ros.ros import qos
from grasp_ros.ros import ros_messages as messages
from grasp_ros.ros.ros_messages import MESSAGE_TYPES, make_message
from harness.ros_graph import ros

STAMP = messages.time_message(1_700_000_000_123_456_789)
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
TWIST_STAMPED = 'geometry_msgs/msg/TwistStamped'
TWIST = 'geometry_msgs/msg/Twist'
JOINTS = 'trajectory_msgs/msg/JointTrajectory'
ARRAY = 'std_msgs/msg/Float64MultiArray'


def encoder(command_type=TWIST_STAMPED, kind=ActionKind.VELOCITY, **options):
    given = {
        'size': 2,
        'period_s': 0.1,
        'fields': ('linear.x', 'angular.z'),
        'joint_names': ('shoulder', 'elbow'),
        'frame_id': 'base_link',
    }
    return CommandLayout(command_type, kind, **{**given, **options}, make=make_message)


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


@settings(deadline=None)
@given(ns=st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
def test_time_is_exact(ns):
    assert messages.stamp_ns(messages.time_message(ns)) == ns


def test_time_out_of_range_is_refused():
    with pytest.raises(ValueError, match='do not fit'):
        messages.time_message(2**31 * 10**9)


@pytest.mark.parametrize('encoding', CHANNELS)
def test_image_message_round_trip(encoding):
    message = over_the_wire(messages.image_message(RGB, STAMP, 'camera', encoding))
    assert (message.height, message.width, message.encoding) == (5, 7, encoding)
    assert message.step == 7 * CHANNELS[encoding]
    assert (message.header.stamp, message.header.frame_id) == (STAMP, 'camera')
    decoded = messages.image_decoder(message)()
    if encoding == 'mono8':
        assert (decoded == decoded[..., :1]).all()
    else:
        np.testing.assert_array_equal(decoded, RGB)


def test_compressed_message_round_trip():
    message = over_the_wire(messages.compressed_message(RGB, STAMP, 'camera', 'png'))
    assert (message.format, message.header.stamp) == ('png', STAMP)
    np.testing.assert_array_equal(messages.image_decoder(message)(), RGB)
    jpeg = messages.compressed_message(RGB, STAMP, 'camera')
    assert jpeg.format == 'jpeg' and messages.image_decoder(jpeg)().shape == RGB.shape


def test_decoder_checks_the_header_now_and_decodes_when_called():
    with pytest.raises(ImageError, match='yuv'):
        messages.image_decoder(Image(height=1, width=1, step=2, encoding='yuv422', data=b'ab'))
    with pytest.raises(ImageError, match='empty'):
        messages.image_decoder(CompressedImage(format='jpeg'))
    corrupt = messages.compressed_message(RGB, STAMP, '', 'png')
    corrupt.data[40] ^= 0xFF
    decode = messages.image_decoder(corrupt)
    with pytest.raises(ImageError, match='corrupt'):
        decode()


@pytest.mark.parametrize(
    ('command_type', 'message_type'),
    [
        (TWIST_STAMPED, TwistStamped),
        (TWIST, Twist),
        (JOINTS, JointTrajectory),
        (ARRAY, Float64MultiArray),
    ],
)
def test_message_type(command_type, message_type):
    built = encoder(command_type)
    assert MESSAGE_TYPES[built.command_type] is message_type
    assert isinstance(built.encode(np.zeros(2), STAMP), message_type)


@pytest.mark.parametrize('command_type', [TWIST_STAMPED, TWIST])
def test_twist_fields(command_type):
    built = encoder(command_type, size=3, fields=['angular.z', 'linear.y', 'linear.x'])
    message = over_the_wire(built.encode(np.array([1.5, -2.0, 3.0]), STAMP))
    twist = message
    if command_type == TWIST_STAMPED:
        assert (message.header.stamp, message.header.frame_id) == (STAMP, 'base_link')
        twist = message.twist
    assert (twist.angular.z, twist.linear.y, twist.linear.x) == (1.5, -2.0, 3.0)
    assert (twist.linear.z, twist.angular.x, twist.angular.y) == (0.0, 0.0, 0.0)


def test_relative_actions_are_no_trajectory():
    with pytest.raises(ValueError, match=r'command\.type.*relative.*Float64MultiArray'):
        encoder(JOINTS, ActionKind.RELATIVE)


@pytest.mark.parametrize(
    ('kind', 'field'),
    [
        (ActionKind.POSITION, 'positions'),
        (ActionKind.VELOCITY, 'velocities'),
        (ActionKind.EFFORT, 'effort'),
    ],
)
def test_joint_trajectory(kind, field):
    built = encoder(JOINTS, kind, period_s=1.1)
    message = over_the_wire(built.encode(np.array([0.25, -0.5]), STAMP))
    assert (message.header.stamp, message.header.frame_id) == (STAMP, 'base_link')
    assert message.joint_names == ['shoulder', 'elbow']
    (point,) = message.points
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (1, 100_000_000)
    filled = {
        name: list(getattr(point, name))
        for name in ('positions', 'velocities', 'accelerations', 'effort')
        if getattr(point, name)
    }
    assert filled == {field: [0.25, -0.5]}


def test_array():
    message = over_the_wire(encoder(ARRAY).encode(np.array([0.25, -0.5], np.float32), STAMP))
    assert list(message.data) == [0.25, -0.5]


def test_names_of_other_types_are_ignored():
    assert encoder(ARRAY, ActionKind.POSITION, fields=(), joint_names=()).size == 2
    assert encoder(JOINTS, fields=()).size == 2
    assert encoder(TWIST, joint_names=()).size == 2


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'command_type': 'Twist'}, r"command\.type is 'Twist'.*geometry_msgs/msg/TwistStamped, "),
        ({'fields': ('linear.x',)}, r'command\.fields has 1 entries \(linear\.x\).* 2 components'),
        ({'fields': ()}, r'command\.fields has 0 entries \(none\)'),
        ({'fields': ('linear.x', 'linear.x')}, r'command\.fields: each entry must be there once'),
        ({'fields': ('linear.x', 'linear.w')}, r"command\.fields: a twist has no 'linear\.w'"),
        ({'fields': ('linear.x', 'header')}, "a twist has no 'header'"),
        ({'kind': ActionKind.POSITION}, r'command\.type .* the robot would never stop'),
        ({'command_type': JOINTS, 'joint_names': ('a',)}, r'command\.joint_names has 1 entries'),
        ({'command_type': JOINTS, 'joint_names': ('a', 'a')}, r'command\.joint_names: each'),
        ({'command_type': JOINTS, 'joint_names': ('a', '')}, r'command\.joint_names: each'),
        ({'command_type': JOINTS, 'period_s': 0.0}, 'period must be positive'),
    ],
)
def test_wrong_settings_are_named(options, fault):
    with pytest.raises(ValueError, match=fault):
        encoder(**options)


@pytest.mark.parametrize('values', [np.zeros(1), np.zeros(3), np.zeros((1, 2))])
def test_wrong_shape_is_refused(values):
    with pytest.raises(ValueError, match=r'shape \(2,\)'):
        encoder().encode(values, STAMP)


@pytest.mark.parametrize(
    ('make', 'reliable', 'depth'),
    [
        (qos.image_qos, False, 1),
        (qos.goal_image_qos, True, 1),
        (qos.command_qos, True, 1),
        (qos.status_qos, True, 10),
        (qos.plan_qos, True, 1),
        (qos.imagined_qos, False, 1),
    ],
)
def test_qos(make, reliable, depth):
    profile = make()
    assert profile.history == QoSHistoryPolicy.KEEP_LAST and profile.depth == depth
    assert (profile.reliability == QoSReliabilityPolicy.RELIABLE) == reliable
    assert profile.durability == QoSDurabilityPolicy.VOLATILE
    assert make() is not profile  # rclpy writes overrides into it


def test_goal_durability():
    profile = qos.goal_image_qos('transient_local')
    assert profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    with pytest.raises(ValueError, match="'persistent'"):
        qos.goal_image_qos('persistent')


def test_qos_can_be_overridden_by_parameters():
    name = 'qos_overrides./image.subscription.'
    overrides = [
        Parameter(name + 'reliability', value='reliable'),
        Parameter(name + 'depth', value=3),
    ]
    with ros() as graph:
        node = graph.node(parameter_overrides=overrides)
        subscription = node.create_subscription(
            Image, 'image', print, qos.image_qos(), qos_overriding_options=qos.overridable()
        )
        assert subscription.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
        assert subscription.qos_profile.depth == 3
        assert node.get_parameter(name + 'durability').value == 'volatile'
