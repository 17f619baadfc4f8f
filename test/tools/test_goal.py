"""Does the command `goal` bring a picture to a subscriber, and say what is wrong otherwise?"""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.messages.images import read_image
from grasp_ros.ros.qos import goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import (
    compressed_message,
    image_decoder,
    image_message,
    time_message,
)
from grasp_ros.tools import goal
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

GOAL = 'grasp_ros.tools.goal'
STAMP = time_message(5 * 10**9 + 7)


@pytest.fixture
def picture(tmp_path):
    """Return a picture and its file."""
    rgb = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    goal.write_image(tmp_path / 'goal.png', rgb)
    return rgb, tmp_path / 'goal.png'


@pytest.fixture
def graph():
    with ros() as running:
        yield running


class Listener:
    """Subscribes to `goal_image` as the planner does."""

    def __init__(self, graph, message_type=Image, durability='volatile', topic='goal_image'):
        self.messages = []
        graph.node('listener').create_subscription(
            message_type, topic, self.messages.append, goal_image_qos(durability)
        )


def camera(graph, message, reliable=False):
    """Publish a picture at 20 Hz."""
    node = graph.node('camera')
    profile = goal_image_qos() if reliable else image_qos()
    publisher = node.create_publisher(type(message), 'image', profile)
    node.create_timer(0.05, lambda: publisher.publish(message))


def received(graph, listener, child):
    """Return the one picture that arrived from a command that succeeded."""
    assert graph.spin_until(lambda: listener.messages or child.popen.poll()), 'nothing came'
    assert child.wait() == 0, child.output
    graph.spin_for(0.1)
    (message,) = listener.messages
    return message


def failed(graph, child):
    """Return what a command said that failed."""
    assert graph.spin_until(lambda: child.popen.poll() is not None), 'it did not end'
    assert child.wait() == 1, child.output
    assert child.output.startswith('goal: ') and 'Traceback' not in child.output
    return child.output


def test_file_arrives(graph, picture):
    rgb, path = picture
    listener = Listener(graph)
    with process(GOAL, '--file', str(path)) as child:
        message = received(graph, listener, child)
        assert f'Published {path} on /goal_image to 1 subscriber' in child.output
    np.testing.assert_array_equal(image_decoder(message)(), rgb)
    assert message.header.stamp.sec > 0


def test_file_arrives_compressed_at_another_topic_and_durability(graph, picture):
    rgb, path = picture
    listener = Listener(graph, CompressedImage, 'transient_local', 'robot/goal')
    arguments = ['--compressed', '--durability', 'transient_local', '--topic', 'goal']
    remap = ['--ros-args', '-r', '__ns:=/robot']
    with process(GOAL, '--file', str(path), *arguments, *remap) as child:
        message = received(graph, listener, child)
    np.testing.assert_array_equal(image_decoder(message)(), rgb)


@pytest.mark.parametrize('reliable', [False, True], ids=['best effort', 'reliable'])
def test_capture_passes_the_camera_picture_on_unchanged(graph, picture, tmp_path, reliable):
    rgb, _ = picture
    sent = image_message(rgb, STAMP, 'camera', 'bgra8')
    camera(graph, sent, reliable)
    listener = Listener(graph)
    saved = tmp_path / 'saved.png'
    with process(GOAL, '--capture', '--save', str(saved)) as child:
        message = received(graph, listener, child)
        assert f'Wrote {saved}' in child.output
    assert message == sent
    np.testing.assert_array_equal(read_image(saved), rgb)


def test_capture_of_a_compressed_camera_keeps_the_bytes(graph, picture):
    sent = compressed_message(picture[0], STAMP, 'camera', 'jpeg')
    camera(graph, sent)
    listener = Listener(graph, CompressedImage)
    with process(GOAL, '--capture', '--compressed') as child:
        assert received(graph, listener, child) == sent


def test_capture_refuses_a_broken_picture(graph):
    camera(graph, Image(height=2, width=2, step=6, encoding='32FC3', data=bytes(12)))
    with process(GOAL, '--capture') as child:
        assert "/image cannot be used: encoding '32FC3' is not supported" in failed(graph, child)


def test_nobody_listens(graph, picture):
    with process(GOAL, '--file', str(picture[1]), '--timeout', '0.5') as child:
        said = failed(graph, child)
    assert 'nobody has subscribed to /goal_image within 0.5 s' in said
    assert 'ROS_DOMAIN_ID' in said


def test_no_camera(graph):
    with process(GOAL, '--capture', '--timeout', '0.5') as child:
        said = failed(graph, child)
    assert 'no image on /image within 0.5 s. No node publishes it' in said


def test_other_side_that_does_not_match_is_explained(graph, picture):
    """All at once, for each takes the whole timeout, which must be longer than discovery."""
    file = ['--timeout', '4', '--file', str(picture[1])]
    Listener(graph, durability='transient_local', topic='late')
    Listener(graph, CompressedImage, topic='compressed')
    graph.node('camera').create_publisher(Image, 'silent', image_qos())
    with (
        process(GOAL, *file, '--topic', 'late') as durability,
        process(GOAL, *file, '--topic', 'compressed') as message_type,
        process(GOAL, '--timeout', '4', '--capture', '--image-topic', 'silent') as silent,
    ):
        said = failed(graph, message_type)
        assert 'listener subscribes to it as sensor_msgs/msg/CompressedImage' in said
        assert 'add --compressed' in said
        assert 'camera publishes it, but sent nothing' in failed(graph, silent)
        assert graph.spin_until(lambda: durability.popen.poll() is not None)
        assert durability.wait() == 1
        assert 'listener subscribes' in durability.output  # after a warning from ROS
        assert 'try --durability transient_local' in durability.output


@pytest.mark.parametrize(
    ('name', 'content', 'fault'),
    [
        ('missing.png', None, 'missing.png: cannot be read: No such file'),
        ('text.png', b'no picture', 'text.png: .*corrupt or no image'),
        ('empty.jpg', b'', 'empty.jpg: .* is empty'),
    ],
)
def test_unusable_file(tmp_path, capsys, name, content, fault):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert goal.main(['--file', str(path)]) == 1
    assert re.search(fault, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('name', 'fault'),
    [('x.xyz', "extension '.xyz'"), ('x', "extension ''"), ('no/x.png', 'does not exist')],
)
def test_unusable_name_to_save_is_refused_before_the_capture(tmp_path, capsys, name, fault):
    assert goal.main(['--capture', '--save', str(tmp_path / name)]) == 1
    assert fault in capsys.readouterr().err


def test_bad_topic_name(tmp_path, capsys, picture):
    assert goal.main(['--file', str(picture[1]), '--topic', 'a b']) == 1
    assert 'Invalid topic name' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--capture', '--file', 'x'],
        ['--file', 'x', '--save', 'y'],
        ['--capture', '--timeout', '0'],
        ['--capture', '--unknown'],
        ['--capture', '--ros-args', '-r', 'a b'],
    ],
)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        goal.main(arguments)
    assert ended.value.code == 2
    assert 'usage: goal' in capsys.readouterr().err


def test_help_needs_no_graph(capsys):
    with pytest.raises(SystemExit) as ended:
        goal.main(['--help'])
    assert ended.value.code == 0
    assert 'goal --capture --save kitchen.png' in capsys.readouterr().out


def test_interrupt_is_clean(graph, picture):
    with process(GOAL, '--file', str(picture[1]), '--timeout', '60') as child:
        node = graph.node()
        assert graph.spin_until(lambda: node.count_publishers('goal_image'))
        assert child.end(signal.SIGINT) == 130
        assert child.output == 'goal: interrupted\n'


def test_torch_is_not_imported():
    code = 'import grasp_ros.tools.goal, sys; sys.exit("torch" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
