"""The node `sim_robot` with the task push_t over real DDS."""

import json

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('pymunk')

from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from grasp_ros.ros.qos import command_qos, goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import image_decoder, stamp_ns
from grasp_ros.sim.push_t.episodes import make_episode
from grasp_ros.sim.push_t.robot import render
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

NODE = 'grasp_ros.tools.sim_robot'
SEED = 1003


@pytest.fixture(scope='module')
def table():
    """Start the table; return the graph, a node, and what is seen."""
    arguments = ['--ros-args', '-p', 'task:=push_t', '-p', f'seed:={SEED}']
    with ros() as graph, process(NODE, *arguments) as child:
        node = graph.node('watcher')
        seen = {name: [] for name in ('pose', 'goal', 'block', 'block_goal')}
        for name, poses in seen.items():
            node.create_subscription(PoseStamped, f'ground_truth/{name}', poses.append, 10)
        seen['images'], seen['goals'] = [], []
        node.create_subscription(Image, 'image', seen['images'].append, image_qos())
        node.create_subscription(Image, 'goal_image', seen['goals'].append, goal_image_qos())
        assert graph.spin_until(lambda: all(seen.values())), child.output
        yield graph, node, seen


def place(message):
    return np.array([message.pose.position.x, message.pose.position.y])


def call(graph, node, kind, name, request):
    client = node.create_client(kind, name)
    assert graph.spin_until(client.service_is_ready)
    future = client.call_async(request)
    assert graph.spin_until(future.done)
    return future.result()


def test_displacements_move_the_agent_and_the_goal_is_shown(table):
    graph, node, seen = table
    episode = make_episode(SEED)
    goal = image_decoder(seen['goals'][-1])()
    np.testing.assert_array_equal(goal, render(episode.goal))
    np.testing.assert_allclose(1000 * place(seen['goal'][-1]), episode.goal[:2])
    np.testing.assert_allclose(1000 * place(seen['block_goal'][-1]), episode.goal[2:4])

    publisher = node.create_publisher(TwistStamped, 'command', command_qos())
    assert graph.spin_until(publisher.get_subscription_count)
    graph.spin_for(0.5)
    before = place(seen['pose'][-1])
    message = TwistStamped()
    message.twist.linear.x = float(np.copysign(0.02, 0.256 - before[0]))
    publisher.publish(message)
    # One displacement, and it ends by itself.
    graph.spin_for(1.5)
    moved = place(seen['pose'][-1]) - before
    np.testing.assert_allclose(moved, [message.twist.linear.x, 0.0], atol=5e-4)
    graph.spin_for(0.3)
    np.testing.assert_allclose(place(seen['pose'][-1]) - before, moved, atol=1e-4)


def test_reset_tells_the_episode_and_poses_of_one_stamp_belong_together(table):
    graph, node, seen = table
    request = SetParameters.Request(
        parameters=[Parameter('seed', value=SEED + 1).to_parameter_msg()]
    )
    assert call(graph, node, SetParameters, 'sim_robot/set_parameters', request)
    answer = json.loads(call(graph, node, Trigger, 'sim_robot/reset', Trigger.Request()).message)
    episode = make_episode(SEED + 1)
    assert answer['moves_block'] == episode.moves_block and answer['budget'] == 50
    np.testing.assert_allclose(answer['goal'], episode.goal[:5])
    graph.spin_for(0.5)
    stamps = {stamp_ns(pose.header.stamp) for pose in seen['block']}
    newest = {stamp_ns(pose.header.stamp) for pose in seen['pose'][-3:-1]}
    assert newest <= stamps
