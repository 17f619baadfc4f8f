"""What fails in mid-run: does the planner stop the robot in time, say why, and recover?"""

import hashlib
import json
import shutil
import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from safetensors.torch import load_file, save_file

from grasp_ros.models.checkpoint import MANIFEST_NAME, PRETRAINED, WEIGHTS_NAME
from grasp_ros.msg import PlanStatus
from grasp_ros.ros.ros_messages import stamp_ns
from harness.camera import GOAL, PERIOD_S, render
from harness.planner_process import command_stamp, planner, speed, velocity
from harness.ros_graph import process

pytestmark = pytest.mark.ros

ROBOT = 'grasp_ros.tools.sim_robot'
IMAGE_TIMEOUT_S = 0.5
SLACK_S = 1.0  # of a busy machine; `make faults` judges times
COMMAND_TIMEOUT_S = 0.5  # of the simulated robot
LIGHT = {
    'planner.deadline': 0.0,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
    'max_plan_age': 5.0,  # of a busy machine
    'goal_tolerance': 0.0,  # a goal that is reached must not end a test
}


@pytest.fixture(scope='module')
def process_of_planner():
    with planner() as bench:
        bench.prepare(LIGHT)
        assert bench.configure(), bench.child.output
        yield bench


@pytest.fixture
def bench(process_of_planner):
    """Return the planner active, with nothing known."""
    process_of_planner.refresh()
    return process_of_planner


def stops_in_time(bench, last_sent_s, last_stamp_ns):
    """The first stop comes when the newest image times out, and only stops follow."""
    bench.until_state(PlanStatus.STALE_IMAGE)

    def found():
        return [a for a in bench.commands if a.time_s > last_sent_s and not speed(a.message)]

    bench.until(lambda: len(found()) >= 3)
    stops = found()
    first = stops[0]
    assert first.time_s - last_sent_s <= IMAGE_TIMEOUT_S + PERIOD_S + SLACK_S
    stamped_after_s = (command_stamp(first.message) - last_stamp_ns) / 1e9
    assert IMAGE_TIMEOUT_S <= stamped_after_s <= IMAGE_TIMEOUT_S + PERIOD_S + SLACK_S
    assert not any(speed(a.message) for a in bench.commands if a.time_s >= first.time_s)


def test_a_camera_that_stops_stops_the_robot_in_time(bench):
    bench.run()
    bench.graph.spin_for(0.5)
    bench.camera.make = None
    stops_in_time(bench, *bench.camera.sent[-1])
    assert 'image_timeout is 0.50 s' in bench.status.reason
    assert np.isfinite(bench.status.image_age) and bench.status.image_age > IMAGE_TIMEOUT_S
    assert 'STALE_IMAGE: newest image is 0.5' in bench.child.output
    bench.camera.show()
    bench.until_running()
    assert bench.until_state(PlanStatus.RUNNING).reason == ''


def test_pictures_that_arrive_with_old_stamps_are_stale(bench):
    bench.run()
    newest = bench.camera.sent[-1]
    frozen_ns = newest[1]
    bench.camera.now_ns = lambda: frozen_ns
    stops_in_time(bench, newest[0], frozen_ns)
    bench.camera.now_ns = time.time_ns
    bench.until_running()


def test_stamps_that_go_back_in_time_stop_the_robot_until_they_are_right(bench):
    bench.run()
    bench.camera.now_ns = lambda: time.time_ns() - 10 * 10**9
    bench.until_state(PlanStatus.STALE_IMAGE)
    seen = len(bench.commands)
    bench.graph.spin_for(0.3)
    assert not any(speed(a.message) for a in bench.commands[seen:])
    bench.camera.now_ns = time.time_ns
    bench.until_running()
    assert 'Traceback' not in bench.child.output


def test_stamps_that_go_back_a_little_are_soon_used_again(bench):
    bench.run()
    bench.camera.now_ns = lambda: time.time_ns() - 3 * 10**8
    began = bench.status.plans
    bench.until(lambda: bench.status.plans > began + 3)
    bench.until_running()


def test_a_new_goal_in_mid_run_makes_a_new_plan(bench):
    bench.run()
    bench.until(lambda: len(bench.plans) >= 2)
    plan = bench.plans[-1].message
    direction = velocity(bench.commands[-1].message)
    elsewhere = render(np.array([0.4, 0.4]))
    assert not np.array_equal(elsewhere, GOAL)
    before = bench.until_state(PlanStatus.RUNNING)
    seen = len(bench.plans)
    bench.camera.goal(elsewhere)
    bench.until(lambda: 'new goal image' in bench.new_output())
    bench.until(lambda: len(bench.plans) > seen + 1)
    after = bench.until_state(PlanStatus.RUNNING)
    assert abs(after.goal_distance - before.goal_distance) > 1.0
    new = bench.plans[-1].message
    assert not np.allclose(new.actions[:10], plan.actions[:10], atol=1e-3)
    assert np.abs(velocity(bench.commands[-1].message) - direction).max() > 0.05
    seen = len(bench.plans)
    bench.new_output()
    bench.camera.goal(elsewhere)  # the same again is no new goal
    bench.until(lambda: len(bench.plans) > seen + 3)
    assert 'new goal' not in bench.new_output()


@pytest.fixture
def nan_model(tmp_path):
    """Copy the committed model with finite weights that are so large that it gives NaN."""
    folder = shutil.copytree(PRETRAINED / 'two_room', tmp_path / 'model')
    weights = load_file(folder / WEIGHTS_NAME)
    save_file({name: value * 0 + 3e38 for name, value in weights.items()}, folder / WEIGHTS_NAME)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    content = (folder / WEIGHTS_NAME).read_bytes()
    manifest['weights_sha256'] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    return folder


def test_a_model_that_gives_nan_commands_nothing(process_of_planner, nan_model):
    bench = process_of_planner
    bench.restart({**LIGHT, 'model': str(nan_model)})
    bench.camera.show()
    bench.camera.goal()
    status = bench.until_state(PlanStatus.BAD_PLAN)
    assert 'non-finite' in status.reason and 'world model' in status.reason
    assert f'BAD_PLAN: {status.reason}' in bench.child.output
    assert bench.deactivate()
    bench.graph.spin_for(0.3)
    assert not bench.commands and not bench.plans
    assert 'Traceback' not in bench.child.output
    bench.restart(LIGHT)
    bench.run()


class Robot:
    """Where the simulated robot really is."""

    def __init__(self, node: Node):
        self.poses = []
        node.create_subscription(PoseStamped, 'ground_truth/pose', self._on_pose, 10)

    def _on_pose(self, message):
        self.poses.append((time.monotonic(), message))

    def positions(self, since_s):
        """Positions (N, 2) that arrived since then."""
        places = [message.pose.position for time_s, message in self.poses if time_s > since_s]
        return np.array([[place.x, place.y] for place in places])

    def moved(self, since_s):
        """Extent of these positions along x or y, whichever is larger, metres."""
        positions = self.positions(since_s)
        return float(np.ptp(positions, axis=0).max()) if len(positions) else 0.0


def test_a_simulated_robot_that_is_killed_and_started_again(bench):
    robot = Robot(bench.node)
    seed = ['--ros-args', '-p', 'seed:=2']
    with process(ROBOT, *seed) as child:
        bench.until(lambda: robot.moved(0.0) > 0.1)
        assert child.end(signal.SIGKILL) == -signal.SIGKILL
        arrived_s, last = robot.poses[-1]
    stops_in_time(bench, arrived_s, stamp_ns(last.header.stamp))
    restarted_s = time.monotonic()
    with process(ROBOT, *seed):
        bench.until_running()
        bench.until(lambda: robot.moved(restarted_s) > 0.1)
    assert 'Traceback' not in bench.child.output


def test_without_its_planner_the_simulated_robot_stops_by_itself():
    arguments = ['--ros-args', '-r', '__ns:=/orphan', '-p', 'seed:=2']
    with planner(namespace='/orphan') as bench, process(ROBOT, *arguments):
        robot = Robot(bench.node)
        bench.restart(LIGHT)
        bench.until_running()
        began_s = time.monotonic()
        bench.until(lambda: robot.moved(began_s) > 0.1)
        assert bench.child.end(signal.SIGKILL) == -signal.SIGKILL
        killed_s = time.monotonic()
        assert speed(bench.commands[-1].message) > 0  # no stop was sent
        bench.graph.spin_for(COMMAND_TIMEOUT_S + PERIOD_S + SLACK_S)
        standing_s = time.monotonic()
        bench.graph.spin_for(0.6)
        assert len(robot.positions(standing_s)) >= 4
        assert robot.moved(standing_s) == 0.0
        assert robot.moved(killed_s) > 0.05  # until the timeout it went on
