"""Two cameras and joint states over DDS: synchronised, refused where bad, missed where dead."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, Header

from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import image_message, time_message
from harness.camera import PERIOD_S
from harness.planner_process import planner, speed
from harness.sensor_models import CAMERAS, goal, shown, write_model

pytestmark = pytest.mark.ros

ALL = (*CAMERAS, 'proprioception')
LIGHT = {
    'planner.horizon': 8,
    'planner.deadline': 0.0,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
    'goal_tolerance': 0.0,
    'sync_tolerance': 0.02,
}


def joint_state(stamp, velocities=(0.1, -0.2)):
    return JointState(
        header=Header(stamp=stamp),
        name=['gripper', 'elbow', 'shoulder'],
        velocity=[9.0, *map(float, velocities)],
    )


class Sensors:
    """Publishes what lives at 10 Hz; `offset_s` is added to the stamps of single sensors."""

    def __init__(self, node, kind=JointState):
        self.living, self.offset_s, self.felt = set(), {}, joint_state
        self._cameras = {
            name: node.create_publisher(Image, f'image/{name}', image_qos()) for name in CAMERAS
        }
        self._felt = node.create_publisher(kind, 'proprioception', 10)
        self._goal = node.create_publisher(Image, 'goal_image', goal_image_qos())
        node.create_timer(PERIOD_S, self._publish)

    def stamp(self, name):
        return time_message(time.time_ns() + round(1e9 * self.offset_s.get(name, 0.0)))

    def _publish(self):
        for name in self.living & set(CAMERAS):
            self._cameras[name].publish(image_message(shown(name), self.stamp(name), name))
        if 'proprioception' in self.living:
            self._felt.publish(self.felt(self.stamp('proprioception')))

    def goal(self, picture):
        self._goal.publish(image_message(picture, self.stamp('goal'), ''))

    @property
    def matched(self):
        publishers = (*self._cameras.values(), self._felt, self._goal)
        return all(publisher.get_subscription_count() for publisher in publishers)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def process_of_planner(model):
    with planner() as bench:
        bench.prepare({**LIGHT, 'model': model})
        assert bench.configure(), bench.child.output
        bench.sensors = Sensors(bench.node)
        yield bench


@pytest.fixture
def bench(process_of_planner):
    """Return the planner, active with nothing known, and no sensor that lives."""
    found = process_of_planner
    if found.life == 'active':
        assert found.deactivate()
    found.sensors.living, found.sensors.offset_s = set(), {}
    found.sensors.felt = joint_state
    found.graph.spin_for(2 * PERIOD_S)
    found.statuses.clear()
    found.commands.clear()
    assert found.activate(), found.child.output
    found.until(lambda: found.sensors.matched)
    found.new_output()
    return found


def run(bench):
    bench.sensors.living = set(ALL)
    bench.sensors.goal(goal())
    bench.until_running()


def stands(bench):
    """Nothing but the stop is commanded from now on."""
    seen = len(bench.commands)
    bench.until(lambda: len(bench.commands) >= seen + 3)
    assert not any(speed(arrival.message) for arrival in bench.commands[seen:])


@pytest.mark.parametrize('dead', ALL)
def test_a_dead_sensor_stops_the_robot_by_name_until_it_returns(bench, dead):
    run(bench)
    bench.sensors.living = set(ALL) - {dead}
    status = bench.until_state(PlanStatus.STALE_IMAGE)
    assert f'{dead} is ' in status.reason and ' s behind' in status.reason, status.reason
    assert not any(f'{other} is ' in status.reason for other in ALL if other != dead)
    stands(bench)
    bench.sensors.living = set(ALL)
    bench.until_running()


def test_an_observation_of_what_is_too_far_apart_is_none(bench):
    # Half a period from every other picture, however long one waits.
    bench.sensors.offset_s = {'right': -1.5 * PERIOD_S}
    bench.sensors.living = set(ALL)
    bench.sensors.goal(goal())
    status = bench.until_state(PlanStatus.WAITING_IMAGE)
    bench.until(lambda: bench.status.reason.startswith('no image received yet: right is 0.'))
    bench.graph.spin_for(5 * PERIOD_S)
    assert not bench.commands
    bench.sensors.offset_s = {'right': -0.01}
    bench.until_running()
    assert status.images_refused == 0


@pytest.mark.parametrize(
    ('felt', 'fault'),
    [
        (lambda stamp: joint_state(stamp, (np.nan, 0.0)), 'not finite: velocity.elbow'),
        (
            lambda stamp: JointState(header=Header(stamp=stamp), name=['elbow'], velocity=[0.0]),
            "no joint 'shoulder'; it has elbow",
        ),
    ],
    ids=['not finite', 'missing joint'],
)
def test_bad_proprioception_is_refused_counted_and_stops_the_robot(bench, felt, fault):
    run(bench)
    before = bench.status.images_refused
    bench.sensors.felt = felt
    status = bench.until_state(PlanStatus.STALE_IMAGE)
    assert 'proprioception is ' in status.reason
    assert status.images_refused >= before + 3
    output = bench.new_output()
    assert 'proprioception refused: ' in output and fault in output
    stands(bench)
    bench.sensors.felt = joint_state
    bench.until_running()


def test_a_goal_of_one_camera_is_refused(bench):
    bench.sensors.living = set(ALL)
    bench.sensors.goal(goal()[:, :15])
    bench.until(lambda: 'goal image refused: ' in bench.child.output)
    assert '15 pixels wide' in bench.new_output()
    run(bench)


def test_settings_that_do_not_fit_the_model_are_named_at_configure(model):
    with planner(namespace='/wrong') as bench:
        for values, fault in (
            ({'proprioception.fields': ['velocity.elbow']}, 'proprioception.fields has 1 entries'),
            ({'proprioception.type': 'nav_msgs/msg/Odometry'}, "has no 'velocity.shoulder'"),
        ):
            bench.prepare({**LIGHT, 'model': model, **values})
            assert not bench.configure()
            assert fault in bench.new_output()


def test_an_array_without_stamps_counts_as_felt_on_arrival(model):
    with planner(namespace='/array') as bench:
        kind = 'std_msgs/msg/Float64MultiArray'
        bench.prepare({**LIGHT, 'model': model, 'proprioception.type': kind})
        assert bench.configure(), bench.child.output
        sensors = bench.sensors = Sensors(bench.node, Float64MultiArray)
        sensors.felt = lambda stamp: Float64MultiArray(data=[0.1, 0.2])
        assert bench.activate()
        bench.until(lambda: sensors.matched)
        run(bench)
