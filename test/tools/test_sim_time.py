"""A simulation faster than real time, recorded while a node drives in it at random."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.ros.qos import image_qos
from grasp_ros.ros.ros_messages import stamp_ns
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.training.data.extract import Extraction, extract
from grasp_ros.training.data.recorded import RecordedDataset
from harness.ros_graph import process, ros

pytestmark = pytest.mark.ros

EPISODES, STEPS, FIRST = 3, 12, 500


def test_simulated_time_goes_in_ticks_of_the_camera_and_fills_the_clock():
    arguments = ['--ros-args', '-p', 'time_scale:=5.0']
    with ros() as graph, process('grasp_ros.tools.sim_robot', *arguments) as child:
        images, clocks = [], []
        node = graph.node('watcher')
        node.create_subscription(Image, 'image', images.append, image_qos())
        node.create_subscription(Clock, '/clock', clocks.append, 10)
        assert graph.spin_until(lambda: len(images) > 20 and len(clocks) > 20), child.output
    stamps = np.array([stamp_ns(image.header.stamp) for image in images])
    assert (np.diff(stamps) % 100_000_000 == 0).all() and (np.diff(stamps) > 0).all()
    assert np.median(np.diff(stamps)) == 100_000_000
    assert stamps[0] < 10**12, 'a clock of its own, not that of the machine'
    times = np.array([stamp_ns(message.clock) for message in clocks])
    assert set(stamps) & set(times)


def test_what_drives_at_random_is_recorded_whole_with_a_gap_at_each_reset(tmp_path):
    """Every command moves the dot as far as the simulator says, and each episode starts its own."""
    bag = tmp_path / 'bag'
    with ros():
        robot = process('grasp_ros.tools.sim_robot', '--ros-args', '-p', 'time_scale:=3.0')
        recorder = process(
            'grasp_ros.tools.record', '--output', str(bag), '--topics', 'image', 'command'
        )
        settings = {
            'episodes': EPISODES, 'episode_steps': STEPS, 'first_episode': FIRST, 'listeners': 2,
        }  # fmt: skip
        given = [part for key, value in settings.items() for part in ('-p', f'{key}:={value}')]
        with robot as driven, recorder as kept:
            with process('grasp_ros.tools.random_driver', '--ros-args', *given) as driver:
                assert driver.wait(60.0) == 0, driver.output
                assert f'{EPISODES} episodes driven' in driver.output
            assert kept.end() == 0, kept.output
            assert driven.popen.poll() is None, driven.output
    wanted = Extraction(bag, 'image', 'command', image=ImagePipeline(height=64, width=64))
    extract(wanted, tmp_path / 'data')
    dataset = RecordedDataset(tmp_path / 'data')
    world = TwoRooms()
    starts = [world.render(make_episode(world, FIRST + n).start[None])[0] for n in range(EPISODES)]
    episodes = np.arange(dataset.episodes)
    firsts = dataset.stored_images(episodes, np.zeros_like(episodes))[:, 0]
    found = [any((first == start).all() for first in firsts) for start in starts]
    # Pictures are best effort: a busy machine may lose one.
    assert sum(found) >= EPISODES - 1
    assert sorted(dataset.lengths)[1 - EPISODES] >= STEPS
    chosen = int(np.flatnonzero(found)[-1])
    last = int(np.flatnonzero([(first == starts[chosen]).all() for first in firsts])[0])
    actions = dataset.actions(np.array([last]), np.array([0]), STEPS)[0].double().numpy()
    velocity = dataset.action_space.denormalise(actions)[0, 0]
    here = make_episode(world, FIRST + chosen).start[None]
    moved = world.advance(here, velocity[None], 0.1)
    second = dataset.stored_images(np.array([last]), np.array([1]))[0, 0]
    np.testing.assert_array_equal(second, world.render(moved)[0])
