"""Record and play in processes: is a bag what was on the topics, and do topics get it back?"""

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

import numpy as np
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from grasp_ros.bags.reader import BagReader
from grasp_ros.msg import PlanStatus
from grasp_ros.ros.qos import goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import image_message, stamp_ns, time_message
from harness.camera import EPISODE, render
from harness.planner_process import planner
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

RECORDED = Path(__file__).parents[1] / 'data' / 'two_room'
RECORD = 'grasp_ros.tools.record'
PLAY = 'grasp_ros.tools.play'
START_S = 60.0


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_recording_holds_what_was_published(tmp_path, storage):
    path = tmp_path / 'bag'
    with ros() as graph:
        node = graph.node()
        camera = node.create_publisher(Image, 'image', image_qos())
        goal = node.create_publisher(Image, 'goal_image', goal_image_qos('transient_local'))
        # Latched before anybody records.
        goal.publish(image_message(render(EPISODE.goal), time_message(7), 'goal'))
        with process(RECORD, '--output', str(path), '--storage', storage) as child:
            assert graph.spin_until(camera.get_subscription_count, START_S), child.output
            sent = []
            for stamp in range(1, 21):
                picture = np.full((8, 6, 3), stamp, np.uint8)
                message = image_message(picture, time_message(stamp), 'camera')
                sent.append(message)
                camera.publish(message)
                graph.spin_for(0.02)
            graph.spin_for(0.5)
            assert child.end(signal.SIGINT, 30.0) == 0, child.output
            assert '/image 20' in child.output and 'nobody published /command' in child.output
    with BagReader(path) as bag:
        # Not compared as bytes: those between fields are what the memory held.
        kept = [deserialize_message(data, Image) for _, _, data in bag.raw_messages(['/image'])]
        assert kept == sent
        (latched,) = bag.messages(['/goal_image'])
        assert latched.message.header.frame_id == 'goal'


def test_recording_nothing_is_a_failure(tmp_path):
    with process(RECORD, '--output', str(tmp_path / 'bag'), '--topics', 'nothing') as child:
        deadline = time.monotonic() + START_S
        while not (tmp_path / 'bag').exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2.0)
        assert child.end(signal.SIGINT, 30.0) == 1
        assert 'nobody published /nothing' in child.output


def test_an_old_bag_is_not_overwritten(tmp_path):
    with process(RECORD, '--output', str(tmp_path)) as child:
        assert child.wait(START_S) == 1
        assert 'exists already' in child.output


def test_playing_gives_the_recorded_pictures_and_their_time():
    with BagReader(RECORDED) as bag:
        recorded = list(bag.messages(['/image']))
        goals = sum(1 for _ in bag.messages(['/goal_image']))
    with ros() as graph:
        node = graph.node()
        pictures, clocks, wanted = [], [], []
        node.create_subscription(Image, 'image', pictures.append, 100)
        node.create_subscription(Image, 'goal_image', wanted.append, goal_image_qos())
        node.create_subscription(Clock, '/clock', clocks.append, 1000)
        with process(PLAY, str(RECORDED), '--rate', '2.0') as child:
            assert graph.spin_until(lambda: child.popen.poll() is not None, START_S)
            assert child.popen.returncode == 0, child.output
            graph.spin_for(0.5)
    # Whoever subscribes late misses the first ones.
    assert 30 < len(pictures) <= len(recorded) and 0 < len(wanted) <= goals
    stamps = [stamp_ns(item.message.header.stamp) for item in recorded]
    assert [stamp_ns(p.header.stamp) for p in pictures] == stamps[-len(pictures):]
    assert bytes(pictures[-1].data) == bytes(recorded[-1].message.data)
    times = [stamp_ns(message.clock) for message in clocks]
    assert times == sorted(times)
    assert abs(times[-1] - recorded[-1].time_ns) < 10**9


def test_the_planner_drives_on_a_played_bag():
    with planner('-p', 'use_sim_time:=true') as bench:
        assert bench.configure(), bench.child.output
        with process(PLAY, str(RECORDED), '--wait-for', '/planner') as player:
            bench.graph.spin_for(1.0)
            assert not bench.commands
            assert bench.activate(), bench.child.output
            bench.until(lambda: player.popen.poll() is not None, START_S)
            assert player.popen.returncode == 0, player.output
        assert len(bench.commands) > 20, bench.child.output
        # Before the bag's clock is there, ticks go on by the steady clock.
        running = [a.message for a in bench.statuses if a.message.state == PlanStatus.RUNNING]
        ticks = [stamp_ns(message.header.stamp) for message in running]
        with BagReader(RECORDED) as bag:
            assert bag.start_ns <= ticks[0] <= ticks[-1] <= bag.start_ns + 6 * 10**9


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (['/no/such/bag'], 'no such bag'),
        ([str(RECORDED), '--image-topic', 'camera'], 'no message on /camera'),
    ],
)
def test_what_cannot_be_played_is_named(arguments, fault):
    with process(PLAY, *arguments) as child:
        assert child.wait(START_S) == 2
        assert fault in child.output and 'Traceback' not in child.output
