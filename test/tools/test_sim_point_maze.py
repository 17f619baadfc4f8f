"""The point mass as a task of sim_robot: its proprioception over DDS, its motion by commands."""

import json

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import Image

from grasp_ros.ros.qos import command_qos, image_qos
from grasp_ros.ros.ros_messages import stamp_ns
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

SEED = 1000


def test_it_feels_a_velocity_with_each_picture_and_keeps_some_of_it_without_commands():
    with ros() as graph, process(
        'grasp_ros.tools.sim_robot', '--ros-args', '-p', 'task:=point_maze', '-p', f'seed:={SEED}'
    ) as child:
        node = graph.node()
        images, proprioception, poses = [], [], []
        node.create_subscription(Image, 'image', images.append, image_qos())
        node.create_subscription(TwistStamped, 'proprioception', proprioception.append, 10)
        node.create_subscription(PoseStamped, 'ground_truth/pose', poses.append, 10)
        command = node.create_publisher(TwistStamped, 'command', command_qos())
        assert graph.spin_until(lambda: images and proprioception and poses), child.output
        assert graph.spin_until(command.get_subscription_count)
        assert proprioception[-1].twist.linear.x == proprioception[-1].twist.linear.y == 0.0
        push = TwistStamped()
        push.twist.linear.x = 0.5
        command.publish(push)
        assert graph.spin_until(lambda: proprioception[-1].twist.linear.x > 0.05), child.output
        # Commanded for half a second, it goes on coasting after that.
        graph.spin_for(1.0)
        assert proprioception[-1].twist.linear.x > 0.05
        start, end = poses[0].pose.position, poses[-1].pose.position
        assert np.hypot(end.x - start.x, end.y - start.y) > 0.02
        stamps = {stamp_ns(message.header.stamp) for message in images}
        together = [stamp_ns(message.header.stamp) in stamps for message in proprioception[1:-1]]
        assert np.mean(together) > 0.8, 'a picture may be lost, but stamps are the same'


@pytest.mark.slow
def test_the_demo_drives_it_to_a_goal_with_the_committed_model(tmp_path):
    arguments = ['--task', 'point_maze', '--episodes', '1', '--output', str(tmp_path)]
    with process('grasp_ros.tools.demo.command', *arguments) as child:
        assert child.wait(240.0) == 0, child.output
    (episode,) = json.loads((tmp_path / 'report.json').read_text())['episodes']
    assert episode['reached'] and episode['seed'] == SEED
