"""The node `sim_robot` over real DDS: does it see, move, stop and start again as it says?"""

import json
import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from grasp_ros.ros.qos import command_qos, goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, TwoRooms
from grasp_ros.tools import sim_robot
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

NODE = 'grasp_ros.tools.sim_robot'
WORLD = TwoRooms()
SEED = 1
EPISODE = make_episode(WORLD, SEED)


class Watcher:
    """Sees all that the simulated robot publishes, and drives it."""

    def __init__(self, graph):
        self.graph = graph
        self.node = node = graph.node('watcher')
        self.images, self.arrivals, self.goals, self.poses = [], [], [], []
        self.goal_poses, self.small, self.small_goals = [], [], []
        node.create_subscription(Image, 'image', self._on_image, image_qos())
        volatile = goal_image_qos()
        node.create_subscription(Image, 'goal_image', self.goals.append, volatile)
        node.create_subscription(
            CompressedImage, 'image/compressed', self.small.append, image_qos()
        )
        node.create_subscription(
            CompressedImage, 'goal_image/compressed', self.small_goals.append, volatile
        )
        node.create_subscription(PoseStamped, 'ground_truth/pose', self.poses.append, 10)
        node.create_subscription(PoseStamped, 'ground_truth/goal', self.goal_poses.append, 10)
        self.command = node.create_publisher(TwistStamped, 'command', command_qos())

    def _on_image(self, message):
        self.images.append(message)
        self.arrivals.append((time.monotonic(), self.node.get_clock().now().nanoseconds))

    def forget(self):
        """Forget what was seen so far."""
        for seen in (self.images, self.arrivals, self.goals, self.poses, self.goal_poses):
            seen.clear()

    @property
    def position(self):
        return place(self.poses[-1])

    def drive(self, x, y, seconds):
        """Command a velocity at 20 Hz."""
        message = TwistStamped()
        message.twist.linear.x, message.twist.linear.y = x, y
        timer = self.node.create_timer(0.05, lambda: self.command.publish(message))
        self.graph.spin_for(seconds)
        self.node.destroy_timer(timer)

    def call(self, service_type, name, request):
        client = self.node.create_client(service_type, name)
        assert self.graph.spin_until(client.service_is_ready)
        future = client.call_async(request)
        assert self.graph.spin_until(future.done)
        return future.result()

    def set(self, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, '/sim_robot/set_parameters', request).results[0]

    def reset(self):
        response = self.call(Trigger, '/sim_robot/reset', Trigger.Request())
        assert response.success
        return json.loads(response.message)


def place(message):
    return np.array([message.pose.position.x, message.pose.position.y])


@pytest.fixture(scope='module')
def running():
    """Start a simulated robot in a process; return who watches it, and the process."""
    arguments = ['--ros-args', '-p', f'seed:={SEED}', '-p', 'compressed:=true']
    with ros() as graph, process(NODE, *arguments) as child:
        watcher = Watcher(graph)
        seen = graph.spin_until(lambda: watcher.images and watcher.goals and watcher.poses)
        assert seen, child.output
        assert graph.spin_until(watcher.command.get_subscription_count)
        np.testing.assert_allclose(watcher.position, EPISODE.start)
        yield watcher, child


@pytest.fixture
def watched(running):
    """Return the same with the robot at the start of EPISODE."""
    watcher, child = running
    assert watcher.set('seed', SEED).successful
    watcher.reset()
    watcher.graph.spin_for(0.3)
    watcher.forget()
    assert watcher.graph.spin_until(lambda: watcher.poses and watcher.images)
    return watcher, child


def test_pictures_come_at_ten_hertz_with_fresh_stamps(watched):
    watcher, _ = watched
    watcher.graph.spin_for(3.0)
    arrived = np.array([steady for steady, _ in watcher.arrivals])
    assert np.median(np.diff(arrived)) == pytest.approx(0.1, abs=0.02)
    assert len(arrived) / (arrived[-1] - arrived[0]) == pytest.approx(10.0, rel=0.15)
    ages = [
        (now - stamp_ns(image.header.stamp)) / 1e9
        for (_, now), image in zip(watcher.arrivals, watcher.images, strict=True)
    ]
    assert 0.0 <= np.median(ages) < 0.03
    image = watcher.images[-1]
    assert (image.encoding, image.header.frame_id) == ('rgb8', 'camera')
    np.testing.assert_array_equal(image_decoder(image)(), WORLD.render(EPISODE.start[None])[0])


def test_the_goal_is_shown_again_and_again_and_its_truth_told(watched):
    watcher, _ = watched
    assert watcher.graph.spin_until(lambda: len(watcher.goals) >= 3, 5.0)
    np.testing.assert_array_equal(
        image_decoder(watcher.goals[-1])(), WORLD.render(EPISODE.goal[None])[0]
    )
    assert watcher.goal_poses[-1].header.frame_id == 'map'
    np.testing.assert_allclose(place(watcher.goal_poses[-1]), EPISODE.goal)


def test_a_late_subscriber_gets_the_goal_at_once(watched):
    watcher, _ = watched
    late = []
    watcher.node.create_subscription(
        Image, 'goal_image', late.append, goal_image_qos('transient_local')
    )
    assert watcher.graph.spin_until(lambda: late, 5.0)


def test_commands_move_the_robot_and_it_stops_half_a_second_after_the_last(watched):
    watcher, _ = watched
    towards = np.sign(1.6 - EPISODE.start) * 0.2  # stay clear of the outer walls
    watcher.drive(*towards, seconds=0.5)
    watcher.graph.spin_for(1.0)
    moved = np.abs(watcher.position - EPISODE.start)
    driven_s = moved / 0.2  # from the first command to half a second after the last
    assert (driven_s > 0.8).all() and (driven_s < 1.2).all()
    stopped = watcher.position
    watcher.graph.spin_for(0.5)
    np.testing.assert_array_equal(watcher.position, stopped)


def test_commands_that_are_not_finite_are_ignored(watched):
    watcher, child = watched
    watcher.drive(float('nan'), 0.3, seconds=0.3)
    watcher.graph.spin_for(0.3)
    np.testing.assert_allclose(watcher.position, EPISODE.start)
    assert child.output.count('command ignored') == 1


def test_reset_starts_the_episode_of_the_seed_set_before(watched):
    watcher, _ = watched
    assert watcher.set('seed', 4).successful
    watcher.graph.spin_for(0.3)
    np.testing.assert_allclose(watcher.position, EPISODE.start)
    answer = watcher.reset()
    new = make_episode(WORLD, 4)
    assert (answer['seed'], answer['through_door']) == (4, True)
    np.testing.assert_allclose(np.array(answer['start']) * METRES_PER_PIXEL, new.start)
    np.testing.assert_allclose(np.array(answer['goal']) * METRES_PER_PIXEL, new.goal)
    fresh = [pose for pose in watcher.poses if stamp_ns(pose.header.stamp) >= answer['stamp_ns']]
    assert watcher.graph.spin_until(lambda: np.array_equal(watcher.position, new.start), 1.0)
    assert all(np.array_equal(place(pose), new.start) for pose in fresh)
    goal = WORLD.render(new.goal[None])[0]
    assert watcher.graph.spin_until(
        lambda: np.array_equal(image_decoder(watcher.goals[-1])(), goal), 0.5
    )


def test_what_is_read_once_cannot_be_set_later(watched):
    watcher, _ = watched
    result = watcher.set('image_rate', 20.0)
    assert not result.successful
    assert 'image_rate' in result.reason
    assert not watcher.set('seed', -3).successful


def test_compressed_pictures_come_beside_the_others(watched):
    watcher, _ = watched
    assert watcher.graph.spin_until(lambda: watcher.small and watcher.small_goals)
    raw = image_decoder(watcher.images[-1])().astype(int)
    small = image_decoder(watcher.small[-1])().astype(int)
    assert np.abs(raw - small).mean() < 5


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(number):
    with ros() as graph, process(NODE, '--ros-args', '-r', '__ns:=/other') as child:
        images = []
        graph.node().create_subscription(Image, '/other/image', images.append, image_qos())
        assert graph.spin_until(lambda: images), child.output
        assert child.end(number) == 0
        assert 'Traceback' not in child.output


@pytest.mark.parametrize(
    ('override', 'name'),
    [
        ('image_rate:=0.0', "'image_rate'"),
        ('image_rate:=fast', "'image_rate'"),
        ('command_timeout:=-1.0', "'command_timeout'"),
        ('seed:=-1', "'seed'"),
        ('sead:=1', "did you mean 'seed'"),
    ],
)
def test_a_bad_parameter_is_named(override, name, capsys, own_signals):
    assert sim_robot.main(['--ros-args', '-p', override]) == 2
    assert name in capsys.readouterr().err


@pytest.fixture
def own_signals():
    """Give the test's signal handlers back after a node has run in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
