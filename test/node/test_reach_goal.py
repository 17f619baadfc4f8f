"""The action `~/reach_goal` over real DDS: every way a goal can end, and goals that are refused."""

import signal

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient

from grasp_ros.action import ReachGoal
from grasp_ros.msg import PlanStatus
from grasp_ros.ros.ros_messages import image_message, time_message
from harness.camera import EPISODE, GOAL, START, render
from harness.planner_process import planner, speed
from harness.ros_graph import process

pytestmark = pytest.mark.ros

ROBOT = 'grasp_ros.tools.sim_robot'
COMMAND = 'grasp_ros.tools.goal'
LIGHT = {
    'planner.deadline': 0.0,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
    'image_timeout': 5.0,  # of a busy machine
    'max_plan_age': 5.0,
}
FAR = render(EPISODE.start + (EPISODE.goal - EPISODE.start) * 0.9)
Result = ReachGoal.Result


class Client:
    """Sends goals and keeps what comes back."""

    def __init__(self, bench):
        self.bench = bench
        self._client = ActionClient(bench.node, ReachGoal, 'planner/reach_goal')
        self.feedback = []

    def request(self, picture=GOAL, tolerance=0.0, timeout=0.0, image=None):
        """Send a goal; return the future of the handle."""
        self.bench.until(self._client.server_is_ready, 30.0)
        goal = ReachGoal.Goal(
            goal_image=image or image_message(picture, time_message(0), 'camera'),
            tolerance=tolerance,
            timeout=timeout,
        )
        return self._client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )

    def send(self, *args, **kwargs):
        """Send a goal that must be accepted; return its handle and the future of its result."""
        sent = self.request(*args, **kwargs)
        self.bench.until(sent.done, 30.0)
        handle = sent.result()
        assert handle.accepted, self.bench.child.output
        return handle, handle.get_result_async()

    def refused(self, reason, *args, **kwargs):
        """Send a goal that must be refused for `reason`."""
        self.bench.new_output()
        sent = self.request(*args, **kwargs)
        self.bench.until(sent.done, 30.0)
        assert not sent.result().accepted
        assert reason in self.bench.new_output()

    def result(self, future, timeout_s=60.0):
        self.bench.until(future.done, timeout_s)
        return future.result().result


@pytest.fixture(scope='module')
def process_of_planner():
    with planner() as bench:
        bench.prepare(LIGHT)
        assert bench.configure(), bench.child.output
        yield bench, Client(bench)


@pytest.fixture
def bench(process_of_planner):
    bench, _ = process_of_planner
    bench.refresh()
    return bench


@pytest.fixture
def client(process_of_planner, bench):
    client = process_of_planner[1]
    client.feedback.clear()
    return client


def stands(bench, state):
    """Whether the robot stands in `state` for a while."""
    bench.until_state(state)
    bench.commands.clear()
    bench.graph.spin_for(0.5)
    assert bench.commands, bench.child.output
    assert all(speed(arrival.message) == 0 for arrival in bench.commands)
    assert bench.status.state == state


def test_a_robot_that_arrives_and_stays_has_reached_its_goal(bench, client):
    poses = []
    bench.node.create_subscription(PoseStamped, 'ground_truth/pose', poses.append, 10)
    elsewhere = ('-r', 'goal_image:=shown_elsewhere')
    with process(ROBOT, '--ros-args', '-p', 'seed:=1', *elsewhere):
        bench.until(lambda: bench.statuses and bench.status.state == PlanStatus.WAITING_GOAL, 60.0)
        _, future = client.send(timeout=120.0)
        result = client.result(future, 120.0)
        assert result.outcome == Result.REACHED, result
        assert bench.status.state == PlanStatus.REACHED
        bench.until(lambda: poses)
        position = poses[-1].pose.position
    assert np.linalg.norm(EPISODE.goal - [position.x, position.y]) < 0.25
    assert 0.5 < result.elapsed < 120.0
    assert 0 <= result.goal_distance < 1.5
    assert client.feedback, 'more often than once'
    first, last = client.feedback[0], client.feedback[-1]
    assert first.goal_distance_unit == bench.status.goal_distance_unit
    assert 0 <= first.progress < 0.5 < last.progress <= 1
    assert last.elapsed > first.elapsed


def test_the_clients_tolerance_counts(bench, client):
    bench.camera.show()
    _, future = client.send(FAR, tolerance=1000.0)
    result = client.result(future)
    assert result.outcome == Result.REACHED
    assert result.elapsed >= 0.5, 'goal.hold_time'


def test_a_cancelled_goal_stops_the_robot(bench, client):
    bench.camera.show()
    handle, future = client.send()
    bench.until_running()
    cancelling = handle.cancel_goal_async()
    result = client.result(future)
    assert (result.outcome, result.reason) == (Result.CANCELLED, 'cancelled by the client')
    assert cancelling.done() and len(cancelling.result().goals_canceling) == 1
    stands(bench, PlanStatus.WAITING_GOAL)


def test_a_goal_that_takes_too_long_stops_the_robot(bench, client):
    bench.camera.show()
    _, future = client.send(timeout=1.5)
    bench.until_running()
    result = client.result(future)
    assert result.outcome == Result.TIMED_OUT
    assert '1.5 s' in result.reason
    assert result.elapsed >= 1.5
    stands(bench, PlanStatus.WAITING_GOAL)


def test_a_second_goal_replaces_the_first(bench, client):
    bench.camera.show()
    _, first = client.send()
    bench.until_running()
    handle, second = client.send(FAR)
    result = client.result(first)
    assert result.outcome == Result.ABORTED
    assert 'replaced by another goal of the action' in result.reason
    bench.until_running()
    assert not second.done()
    handle.cancel_goal_async()
    assert client.result(second).outcome == Result.CANCELLED


def test_a_goal_on_the_topic_replaces_that_of_the_action(bench, client):
    bench.camera.show()
    _, future = client.send()
    bench.until_running()
    bench.camera.goal(GOAL)
    bench.graph.spin_for(0.5)
    assert not future.done(), 'the same picture is no new goal'
    bench.camera.goal(FAR)
    result = client.result(future)
    assert result.outcome == Result.ABORTED
    assert 'topic' in result.reason
    bench.until_running()


def test_deactivation_aborts_the_goal(bench, client):
    bench.camera.show()
    _, future = client.send()
    bench.until_running()
    assert bench.deactivate()
    result = client.result(future)
    assert result.outcome == Result.ABORTED
    assert 'deactivated' in result.reason
    client.refused('not active')


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'tolerance': -1.0}, 'tolerance is -1.0'),
        ({'tolerance': float('nan')}, 'tolerance is nan'),
        ({'timeout': -1.0}, 'timeout is -1.0'),
        ({'timeout': float('inf')}, 'timeout is inf'),
    ],
)
def test_numbers_that_make_no_sense_are_refused(bench, client, options, reason):
    client.refused(reason, **options)


def test_a_picture_that_cannot_be_decoded_is_refused(bench, client):
    image = image_message(START, time_message(0), 'camera')
    image.encoding = 'yuv422'
    client.refused('yuv422', image=image)


def test_a_refused_goal_leaves_the_present_one_alone(bench, client):
    bench.camera.show()
    handle, future = client.send()
    client.refused('timeout is -1.0', timeout=-1.0)
    bench.until_running()
    assert not future.done()
    handle.cancel_goal_async()
    client.result(future)


def test_the_command_waits_for_the_outcome_and_ctrl_c_cancels(bench, client, tmp_path):
    cv2.imwrite(str(tmp_path / 'goal.png'), GOAL[..., ::-1])
    arguments = ['--file', str(tmp_path / 'goal.png'), '--wait', '--timeout', '30']

    def ends(child):
        bench.until(lambda: child.popen.poll() is not None, 60.0)
        assert 'Traceback' not in child.output
        return child.wait()

    bench.camera.show()
    with process(COMMAND, *arguments, '--limit', '1.5') as child:
        assert ends(child) == 4
        assert 'goal distance' in child.output and 'timed out after' in child.output
    with process(COMMAND, *arguments, '--tolerance', '1000') as child:
        assert ends(child) == 0
        assert 'reached after' in child.output
    with process(COMMAND, *arguments) as child:
        bench.until_running()
        bench.until(lambda: 'goal distance' in child.output)
        child.popen.send_signal(signal.SIGINT)
        assert ends(child) == 130
        assert 'cancelled after' in child.output
    stands(bench, PlanStatus.WAITING_GOAL)
    assert bench.deactivate()
    with process(COMMAND, *arguments) as child:
        assert ends(child) == 1
        assert 'refused' in child.output


def test_a_stalled_goal_ends_and_the_same_goal_starts_again(bench, client):
    bench.restart({**LIGHT, 'goal.give_up_time': 1.0})
    shown = iter(range(10**9))

    def trembling(picture, stamp, frame):
        # No two pictures are the same: the robot pushes against something, the camera works.
        changed = picture.copy()
        changed[0, 0, 0] = next(shown) % 7
        return image_message(changed, stamp, frame)

    bench.camera.show(encode=trembling)
    _, future = client.send()
    result = client.result(future)
    assert result.outcome == Result.STALLED
    assert 'goal.give_up_time' in result.reason
    stands(bench, PlanStatus.STALLED)
    _, again = client.send()
    bench.until_running()
    assert client.result(again).outcome == Result.STALLED


def test_a_signal_aborts_the_goal_and_the_client_hears_of_it():
    with planner(namespace='/ended') as bench:
        bench.restart(LIGHT)
        client = Client(bench)
        bench.camera.show()
        _, future = client.send()
        bench.until_running()
        bench.child.popen.send_signal(signal.SIGINT)
        result = client.result(future)
        assert result.outcome == Result.ABORTED
        bench.until(lambda: bench.child.popen.poll() is not None)
        assert 'Traceback' not in bench.child.output
