"""What the node watches beside images and plans: the command topic, and the model's files."""

import shutil

import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64MultiArray

from grasp_ros.models.checkpoint import PRETRAINED, WEIGHTS_NAME
from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import command_qos
from grasp_ros.ros.ros_messages import image_message
from harness.planner_process import planner, speed

pytestmark = pytest.mark.ros

LIGHT = {
    'planner.deadline': 0.0,
    'grasp.iterations': 2,
    'grasp.candidates': 2,
    'grasp.proposals': 2,
    'goal_tolerance': 0.0,
    'max_plan_age': 10.0,  # a busy machine must not stop the robot for other reasons
}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Copy the committed model, to be spoilt."""
    return shutil.copytree(PRETRAINED / 'two_room', tmp_path_factory.mktemp('model') / 'model')


@pytest.fixture(scope='module')
def process_of_planner(model):
    with planner() as bench:
        bench.prepare({**LIGHT, 'model': str(model)})
        assert bench.configure(), bench.child.output
        yield bench


@pytest.fixture
def bench(process_of_planner):
    """Return the planner active and driving."""
    process_of_planner.refresh()
    process_of_planner.run()
    process_of_planner.new_output()
    return process_of_planner


def test_a_second_publisher_stops_the_robot_until_it_leaves(bench):
    other = bench.node.create_publisher(TwistStamped, 'command', command_qos())
    assert '1 other publishers on /command' in bench.until_state(PlanStatus.CONFLICT).reason
    seen = len(bench.commands)
    bench.until(lambda: len(bench.commands) >= seen + 3)
    assert not any(speed(arrival.message) for arrival in bench.commands[seen:])
    bench.node.destroy_publisher(other)
    bench.until_running()
    assert bench.set({'command.conflict': 'warn'})[0].successful
    warned = len(bench.child.output)
    other = bench.node.create_publisher(TwistStamped, 'command', command_qos())
    bench.until(lambda: '1 other publishers' in bench.child.output[warned:])
    bench.graph.spin_for(1.0)
    assert bench.status.state == PlanStatus.RUNNING
    bench.node.destroy_publisher(other)
    assert bench.set({'command.conflict': 'stop'})[0].successful


def test_pictures_that_do_not_arrive_are_explained_once(process_of_planner):
    process_of_planner.new_output()
    process_of_planner.refresh()
    process_of_planner.until(
        lambda: 'a camera publishes on /image, but no image' in process_of_planner.child.output
    )
    process_of_planner.graph.spin_for(3.0)
    said = process_of_planner.new_output()
    assert said.count('a camera publishes on') == 1
    assert 'ros2 topic info --verbose' in said and 'config/large_images.xml' in said
    assert process_of_planner.status.state == PlanStatus.WAITING_IMAGE


def test_commands_that_nobody_hears_are_warned_of_once(bench):
    bench.listen(Float64MultiArray)  # another type: DDS does not match them
    try:
        bench.until(lambda: 'nobody listens to /command' in bench.child.output)
        bench.graph.spin_for(2.0)
        assert bench.new_output().count('nobody listens') == 1
        assert bench.status.state == PlanStatus.RUNNING
    finally:
        bench.listen(TwistStamped)


def test_another_encoding_in_mid_run_is_named_and_used(bench):
    bench.camera.show(encode=lambda *picture: image_message(*picture, 'bgr8'))
    change = 'from 64 x 64 in rgb8 to 64 x 64 in bgr8'
    bench.until(lambda: change in bench.child.output)
    seen = bench.status.plans
    bench.until(lambda: bench.status.plans > seen + 3)
    assert bench.status.state == PlanStatus.RUNNING
    assert bench.new_output().count('the camera changed') == 1


def test_a_model_that_is_cut_short_on_disk_is_told_and_the_loaded_one_goes_on(bench, model):
    # The last test: the model is spoilt.
    with (model / WEIGHTS_NAME).open('r+b') as file:
        file.truncate(100)
    bench.until(lambda: f'{WEIGHTS_NAME} changed on disk' in bench.child.output)
    seen = bench.status.plans
    bench.until(lambda: bench.status.plans > seen + 5)
    bench.until_running()
    assert bench.new_output().count('changed on disk') == 1
