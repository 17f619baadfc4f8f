"""From messages to the model's proprioception: the mapping, and what is wrong with a message."""

import numpy as np
import pytest

from grasp_ros.bags.message_types import make_message
from grasp_ros.messages.proprioception import (
    ARRAY,
    JOINT_STATE,
    ODOMETRY,
    TWIST_STAMPED,
    ProprioceptionError,
    ProprioceptionLayout,
)

NAMES = ('velocity.elbow', 'position.wrist')


def joints(**changes):
    fields = {
        'name': ['wrist', 'base', 'elbow'],
        'position': [1.0, 2.0, 3.0],
        'velocity': [4.0, 5.0, 6.0],
        'effort': [],
    }
    return make_message(JOINT_STATE, **{**fields, **changes})


def vector(x, y, z):
    return make_message('geometry_msgs/msg/Vector3', x=x, y=y, z=z)


def twist():
    return make_message(
        'geometry_msgs/msg/Twist', linear=vector(1.0, 2.0, 3.0), angular=vector(4.0, 5.0, 6.0)
    )


def test_joints_are_found_by_name_whatever_their_order():
    layout = ProprioceptionLayout(JOINT_STATE, NAMES)
    assert layout.decode(joints()).tolist() == [6.0, 1.0]
    turned = joints(name=['elbow', 'wrist', 'base'])
    assert layout.decode(turned).tolist() == [4.0, 2.0]


def test_fields_map_other_names():
    layout = ProprioceptionLayout(JOINT_STATE, ('a', 'b'), ('position.base', 'velocity.base'))
    assert layout.decode(joints()).tolist() == [2.0, 5.0]


def test_twists_and_odometry():
    names = ('angular.z', 'linear.x')
    stamped = make_message(TWIST_STAMPED, twist=twist())
    assert ProprioceptionLayout(TWIST_STAMPED, names).decode(stamped).tolist() == [6.0, 1.0]
    pose = make_message(
        'geometry_msgs/msg/Pose',
        position=make_message('geometry_msgs/msg/Point', x=7.0, y=8.0, z=9.0),
        orientation=make_message('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
    )
    odometry = make_message(
        ODOMETRY,
        pose=make_message('geometry_msgs/msg/PoseWithCovariance', pose=pose),
        twist=make_message('geometry_msgs/msg/TwistWithCovariance', twist=twist()),
    )
    chosen = ('position.y', 'orientation.w', 'linear.y')
    layout = ProprioceptionLayout(ODOMETRY, ('y', 'w', 'v'), chosen)
    assert layout.decode(odometry).tolist() == [8.0, 1.0, 2.0]


def test_an_array_comes_in_the_order_of_the_model():
    layout = ProprioceptionLayout(ARRAY, ('x', 'y'))
    assert layout.decode(make_message(ARRAY, data=[3.0, 4.0])).tolist() == [3.0, 4.0]
    with pytest.raises(ProprioceptionError, match='3 values; the model wants 2: x, y'):
        layout.decode(make_message(ARRAY, data=np.zeros(3)))


@pytest.mark.parametrize(
    ('changes', 'fault'),
    [
        ({'name': ['wrist', 'base', 'gripper']}, "no joint 'elbow'; it has wrist, base, gripper"),
        ({'velocity': []}, '0 values of velocity for 3 joints'),
        ({'velocity': [1.0, 2.0]}, '2 values of velocity for 3 joints'),
        ({'name': []}, "no joint 'elbow'; it has none"),
    ],
)
def test_messages_without_all_values_are_refused(changes, fault):
    with pytest.raises(ProprioceptionError, match=fault):
        ProprioceptionLayout(JOINT_STATE, NAMES).decode(joints(**changes))


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (('std_msgs/msg/Float32', ('x',)), 'proprioception.type is'),
        ((JOINT_STATE, ('x', 'y'), ('position.x',)), 'has 1 entries .*has 2 components: x, y'),
        ((JOINT_STATE, ('speed',)), "has no 'speed'; it has position.<joint>"),
        ((TWIST_STAMPED, ('position.x',)), "has no 'position.x'; it has linear.x"),
    ],
)
def test_wrong_settings_are_named(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        ProprioceptionLayout(*arguments)
