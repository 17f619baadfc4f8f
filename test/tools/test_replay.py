"""Does a replay give what the node would do, the same each time, and say what stands in its way?"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from grasp_ros.bags.comparison import CommandSeries, compare
from grasp_ros.bags.events import GoalGiven, ImageSeen, Refused, Source, events
from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, BagError
from grasp_ros.bags.reader import BagReader
from grasp_ros.bags.virtual_node import Pace, Replan, Tick, VirtualNode
from grasp_ros.bags.writer import BagWriter
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command, State
from grasp_ros.messages.images import ImageError, encode_compressed, lazy_decoder
from grasp_ros.tools import replay

DATA = Path(__file__).parents[1] / 'data'
RECORDED = DATA / 'two_room'
GOLDEN = DATA / 'two_room_golden'
CHEAP = [
    f'--param={override}'
    for override in (
        'grasp.iterations:=1',
        'grasp.proposals:=0',
        'grasp.seed_greedy:=false',
        'planner.horizon:=10',
    )
]
MILLISECOND = 10**6


def run(output, *arguments, bag=RECORDED):
    """Replay cheaply; return the exit status and the report."""
    status = replay.main([str(bag), '--output', str(output), *CHEAP, *map(str, arguments)])
    return status, json.loads((output / 'report.json').read_text())


@pytest.fixture(scope='module')
def cheap(tmp_path_factory):
    """Return the report of a cheap replay of the committed bag, and where it lies."""
    output = tmp_path_factory.mktemp('cheap')
    return run(output)[1], output


@pytest.mark.slow
def test_the_committed_bag_gives_its_golden_commands(tmp_path):
    # Made anew, where control changes on purpose, by
    # python -m grasp_ros.tools.replay test/data/two_room --dtype float64 --compress
    arguments = [str(RECORDED), '--output', str(tmp_path), '--dtype', 'float64']
    status = replay.main([*arguments, '--compare', str(GOLDEN), '--tolerance', '1e-6'])
    report = json.loads((tmp_path / 'report.json').read_text())
    assert status == 0, report['comparison']
    assert report['comparison']['matched'] == report['commands']['count'] > 40
    assert report['states']['REACHED'] > 0


def replay_in_a_process(output, hash_seed):
    subprocess.run(
        [
            sys.executable, '-m', 'grasp_ros.tools.replay', str(RECORDED), '--output', str(output),
            *CHEAP,
        ],
        check=True,
        capture_output=True,
        env={**os.environ, 'PYTHONHASHSEED': hash_seed, 'OMP_NUM_THREADS': '2'},
    )
    return {path.name: path.read_bytes() for path in (output / 'bag').iterdir()}


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path):
    first = replay_in_a_process(tmp_path / 'first', '1')
    assert sorted(first) == ['bag.mcap', 'metadata.yaml']
    assert first == replay_in_a_process(tmp_path / 'second', '2')


def test_the_report_says_what_happened(cheap):
    report, output = cheap
    assert report['images'] == {'received': 49, 'refused': {}}
    assert report['plans']['made'] > 10
    assert sum(report['states'].values()) == report['commands']['count'] + 3
    assert report['stops'][0]['state'] == 'WAITING_IMAGE'
    assert report['outside_solves_ms_per_image']['count'] == 49
    assert report['solve_ms']['count'] == report['plans']['made']
    assert not report['interrupted']
    with BagReader(output / 'bag') as bag:
        assert bag.topics['/command'] == (
            'geometry_msgs/msg/TwistStamped', report['commands']['count']
        )
        assert bag.topics['/planner/status'][1] == sum(report['states'].values())
        assert bag.topics['/planner/plan'][1] == report['plans']['made']


def copy(path, storage):
    """Write the committed bag anew."""
    with BagReader(RECORDED) as bag, BagWriter(path, storage=storage) as new:
        kinds = {topic: kind for topic, (kind, _) in bag.topics.items()}
        for topic, time_ns, data in bag.raw_messages(list(kinds)):
            new.write_raw(topic, kinds[topic], time_ns, data)
    return path


def test_both_kinds_of_storage_give_the_same_commands(tmp_path, cheap):
    bag = copy(tmp_path / 'copy', 'sqlite3')
    status, report = run(
        tmp_path / 'out', '--storage', 'sqlite3', '--compare', cheap[1] / 'bag', bag=bag
    )
    assert status == 0
    assert report['commands'] == cheap[0]['commands']


def test_the_status_counts_refused_images_and_measures_novelty(tmp_path):
    refused, unusual = 20, 30
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with BagReader(RECORDED) as bag, BagWriter(tmp_path / 'bag') as new:
        seen = 0
        for item in bag.messages(['/image', '/goal_image']):
            message = item.message
            seen += item.topic == '/image'
            if item.topic == '/image' and seen == refused:
                message = replace(message, encoding='yuv422')
            elif item.topic == '/image' and seen == unusual:
                assert message.data.size == noise.size
                message = replace(message, data=noise.reshape(-1))
            new.write(item.topic, IMAGE, item.time_ns, message)
    _, report = run(tmp_path / 'out', bag=tmp_path / 'bag')
    (reason,) = report['images']['refused']
    assert 'yuv422' in reason
    with BagReader(tmp_path / 'out' / 'bag') as bag:
        statuses = [item.message for item in bag.messages(['/planner/status'])]
    counts = [status.images_refused for status in statuses]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (0, 1)
    assert 15 < counts.index(1) < 25, 'it counts from when the image came'
    novelty = np.array([status.novelty for status in statuses])
    (above,) = np.flatnonzero(novelty > 1.0)
    assert 25 < above < 35
    assert np.isfinite(novelty[5:]).all()


def test_a_compressed_bag_of_rosbags_with_foreign_types(tmp_path, cheap):
    """Other topics, PNG pictures, a type that nobody here knows, an older ROS."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    foreign = 'elsewhere_msgs/msg/Thing'
    store.register(get_types_from_msg('float64 weight\n', foreign))
    picture = store.types[COMPRESSED_IMAGE]
    topics = {'/image': '/front/compressed', '/goal_image': '/wanted/compressed'}
    with (
        BagReader(RECORDED) as bag,
        Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.SQLITE3) as new,
    ):
        thing = new.add_connection('/thing', foreign, typestore=store)
        data = store.serialize_cdr(store.types[foreign](weight=1.0), foreign)
        new.write(thing, bag.start_ns, data)
        connections = {
            old: new.add_connection(name, COMPRESSED_IMAGE, typestore=store)
            for old, name in topics.items()
        }
        for item in bag.messages(list(topics)):
            rgb = lazy_decoder(item.message, compressed=False)()
            message = picture(
                header=item.message.header,
                format='png',
                data=np.frombuffer(encode_compressed(rgb, 'png'), np.uint8),
            )
            new.write(
                connections[item.topic],
                item.time_ns,
                store.serialize_cdr(message, COMPRESSED_IMAGE),
            )
    _, report = run(
        tmp_path / 'out',
        '--image-topic', '/front/compressed', '--goal-topic', 'wanted/compressed',
        bag=tmp_path / 'bag',
    )
    assert report['commands'] == cheap[0]['commands']


def test_a_goal_from_a_file_replaces_those_of_the_bag(tmp_path, cheap):
    with BagReader(RECORDED) as bag:
        goal = next(e for e in events(bag, Source()) if isinstance(e, GoalGiven)).image
    cv2.imwrite(str(tmp_path / 'goal.png'), goal[..., ::-1])
    _, same = run(tmp_path / 'same', '--goal', tmp_path / 'goal.png')
    assert same['goals'] == 1
    assert same['states']['RUNNING'] >= cheap[0]['states']['RUNNING']
    cv2.imwrite(str(tmp_path / 'other.png'), goal[::-1, ::-1, ::-1])
    status, other = run(
        tmp_path / 'other', '--goal', tmp_path / 'other.png', '--compare', cheap[1] / 'bag',
        '--tolerance', 0.1,
    )
    assert status == 1
    assert other['comparison']['first_divergence'] is not None


class EndedAfter(threading.Event):
    """As if Ctrl-C were pressed after some events."""

    def __init__(self, count):
        super().__init__()
        self._left = count

    def is_set(self):
        self._left -= 1
        return self._left < 0


def test_an_interrupted_replay_leaves_a_bag_that_can_be_read(tmp_path, capsys):
    options = replay._parser().parse_args([str(RECORDED), '--output', str(tmp_path), *CHEAP])
    assert replay.replay(options, EndedAfter(10)) == 130
    assert 'interrupted' in capsys.readouterr().err
    assert json.loads((tmp_path / 'report.json').read_text())['interrupted']
    with BagReader(tmp_path / 'bag') as bag:
        assert 0 < len(list(bag.messages(['/planner/status']))) < 20


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (['/no/such/bag'], 'no such bag'),
        ([RECORDED, '--image-topic', 'camera'], '/camera (--image-topic). The bag holds: /command'),
        ([RECORDED, '--image-topic', 'command'], 'not sensor_msgs/msg/Image or'),
        ([RECORDED, '--goal-topic', 'goal'], 'an image with --goal). The bag'),
        ([RECORDED, '--goal', '/no/picture.png'], '/no/picture.png: cannot be read'),
        ([RECORDED, '--goal', __file__], 'corrupt or no image'),
        ([RECORDED, '--param', 'horizn:=3'], "unknown parameter 'horizn'"),
        ([RECORDED, '--param', 'model:=nothing'], "model 'nothing'"),
        ([RECORDED, '--param', 'command.fields:=[linear.x]'], 'command.fields has 1 entries'),
        ([RECORDED, '--params-file', '/no/file.yaml'], '/no/file.yaml: cannot be read'),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, capsys, arguments, fault):
    status = replay.main([*map(str, arguments), '--output', str(tmp_path / 'out')])
    assert status == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_what_was_replayed_before_is_not_overwritten(cheap, capsys):
    assert replay.main([str(RECORDED), '--output', str(cheap[1])]) == 2
    assert 'exists already' in capsys.readouterr().err


# The virtual node.


class Script:
    """A controller that notes what it is asked, and when."""

    def __init__(self, refuse=None):
        self.calls = []
        self.observations = 0
        self._refuse = refuse

    def reset(self):
        self.calls.clear()

    def add_measurement(self, name, data, stamp_ns, *, now_ns, arrival_ns):
        self.calls.append(('observe', now_ns, stamp_ns))
        self.observations += not self._refuse
        return self._refuse

    def set_goal(self, picture):
        self.calls.append(('goal', picture))
        return True

    def plan(self, now_ns):
        self.calls.append(('plan', now_ns))
        return PlanReport(State.WAITING_GOAL)

    def command(self, now_ns, steady_ns):
        assert steady_ns == now_ns
        return Command(None, State.WAITING_GOAL, '')


def image(time_ns, stamp_ns=0):
    return ImageSeen(time_ns, stamp_ns, lambda: None)


def times(outcomes, kind):
    return [outcome.time_ns for outcome in outcomes if isinstance(outcome, kind)]


def test_ticks_come_at_the_control_rate_from_the_first_event_on():
    node = VirtualNode(Script(), Pace(period_ns=100, replan_ns=0))
    outcomes = [*node.feed(image(1000)), *node.feed(image(1250)), *node.until(1301)]
    assert times(outcomes, Tick) == [1000, 1100, 1200, 1300]


def test_a_replan_waits_until_the_planning_thread_is_free_and_images_meanwhile_count_once():
    script = Script()
    node = VirtualNode(script, Pace(period_ns=1000, replan_ns=250))
    outcomes = [o for t in (0, 100, 200, 300, 900) for o in node.feed(image(t))]
    outcomes += node.until(2000)
    assert times(outcomes, Replan) == [0, 250, 500, 900]


def test_a_zero_stamp_counts_as_now_and_a_refused_image_starts_no_replan():
    script = Script(refuse='too old')
    node = VirtualNode(script, Pace(100, 0))
    outcomes = [*node.feed(image(50)), *node.feed(image(60, 7)), *node.until(90)]
    assert script.calls == [('observe', 50, 50), ('observe', 60, 7)]
    assert [o.reason for o in outcomes if isinstance(o, Refused)] == ['too old'] * 2
    assert not times(outcomes, Replan)


def image_bag(path, stamps, **fields):
    """Write a bag of grey pictures recorded 100 ms apart, and a goal first."""
    from grasp_ros.bags.message_types import header, make_message

    def picture(stamp, **changed):
        size = {'height': 2, 'width': 2, 'step': 6, 'encoding': 'rgb8', 'data': np.zeros(12)}
        return make_message(IMAGE, header=header(stamp, ''), **{**size, **changed})

    with BagWriter(path) as bag:
        bag.write('/goal_image', IMAGE, 999, picture(0))
        for index, stamp in enumerate(stamps):
            time_ns = 1000 + 100 * MILLISECOND * index
            bag.write('/image', IMAGE, time_ns, picture(stamp, **fields))
    return path


def test_pictures_that_cannot_be_decoded_are_refused(tmp_path):
    with BagReader(image_bag(tmp_path / 'bag', [1, 2], encoding='yuv422')) as bag:
        goal, *seen = events(bag, Source())
    assert isinstance(goal, GoalGiven)
    assert all(isinstance(event, Refused) and 'yuv422' in event.reason for event in seen)


def test_time_may_be_the_stamps(tmp_path):
    stamps = [5_000_000_000, 5_200_000_000, 5_100_000_000]
    with BagReader(image_bag(tmp_path / 'bag', stamps)) as bag:
        by_log = [event.time_ns for event in events(bag, Source(goal_file=None))]
        by_stamp = list(events(bag, Source(clock='stamp', goal_file=_png(tmp_path))))
    assert by_log == [999, 1000, 1000 + 100 * MILLISECOND, 1000 + 200 * MILLISECOND]
    # Time never goes back.
    assert [event.time_ns for event in by_stamp] == [stamps[0], stamps[0], stamps[1], stamps[1]]


def _png(tmp_path):
    cv2.imwrite(str(tmp_path / 'goal.png'), np.zeros((2, 2, 3), np.uint8))
    return tmp_path / 'goal.png'


def test_a_jump_of_the_clock_is_an_error_not_an_endless_replay(tmp_path):
    stamps = [1_000_000_000, 10**18]
    with BagReader(image_bag(tmp_path / 'bag', stamps)) as bag:
        source = Source(clock='stamp', goal_file=_png(tmp_path))
        with pytest.raises(BagError, match=r'time jumps by .* s .* --clock'):
            list(events(bag, source))


def test_a_corrupt_picture_is_the_controllers_to_judge(tmp_path):
    event = ImageSeen(0, 0, lazy_decoder(_jpeg_cut_short(), compressed=True))
    with pytest.raises(ImageError):
        event.decode()


def _jpeg_cut_short():
    from grasp_ros.bags.message_types import make_message

    data = bytearray(encode_compressed(np.zeros((8, 8, 3), np.uint8), 'png'))
    data[40] ^= 0xFF
    return make_message(COMPRESSED_IMAGE, format='png', data=list(data))


# Comparison.


def series(times_ns, values):
    return CommandSeries(np.array(times_ns, np.int64), np.array(values, float))


def test_equal_commands_have_no_difference():
    ours = series([0, 100, 200], [[1, 0], [2, 0], [3, 0]])
    found = compare(ours, ours, ('x', 'y'), 0.0, 100)
    assert (found.matched, found.only_ours, found.only_theirs) == (3, 0, 0)
    assert found.within and found.first_divergence is None
    assert found.dimensions['x'] == {'max': 0, 'mean': 0, 'rms': 0, 'correlation': 1.0}
    assert found.dimensions['y']['correlation'] is None


def test_the_first_divergence_and_the_statistics():
    ours = series([1000, 1100, 1200], [[0, 0], [0, 1], [3, 5]])
    theirs = series([1000, 1100, 1200], [[0, 0], [0, 0.9], [0, 1]])
    found = compare(ours, theirs, ('x', 'y'), 0.2, 100)
    assert not found.within
    assert found.first_divergence == {
        'time_ns': 1200, 'seconds': 2e-7, 'index': 2, 'dimension': 'x', 'ours': 3.0, 'theirs': 0.0,
    }
    assert found.dimensions['x']['max'] == 3.0
    assert found.dimensions['x']['rms'] == pytest.approx(3**0.5)
    assert found.dimensions['y']['mean'] == pytest.approx(4.1 / 3)
    assert compare(ours, theirs, ('x', 'y'), 4.0, 100).within


def test_commands_are_paired_by_time_and_missing_ones_counted():
    ours = series([0, 100, 200, 300, 400], [[1]] * 5)
    theirs = series([-500, 90, 310, 410, 460, 900], [[1]] * 6)
    found = compare(ours, theirs, ('x',), 0.0, 100)
    assert (found.matched, found.only_ours, found.only_theirs) == (3, 2, 0)
    assert not found.within


def test_nan_is_a_difference():
    ours = series([0, 100], [[0.0], [np.nan]])
    found = compare(ours, series([0, 100], [[0.0], [0.0]]), ('x',), 1e9, 100)
    assert found.first_divergence['index'] == 1 and not found.within


def test_bags_of_different_times_cannot_be_compared():
    with pytest.raises(BagError, match='same recording'):
        compare(series([0], [[1]]), series([10**9], [[1]]), ('x',), 0.0, 100)
