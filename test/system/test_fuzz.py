"""Do mutated messages break anything, or move the robot? A short version of `make fuzz`."""

from array import array

import pytest

pytest.importorskip('rclpy')

import numpy as np
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from grasp_ros.action import ReachGoal
from grasp_ros.messages.images import CHANNELS, ImageError, check_compressed
from grasp_ros.ros.ros_messages import compressed_message, time_message
from system.fuzz import bombs, command
from system.fuzz.mutations import COMPRESSED, GOAL, IMAGE, FuzzCase
from system.fuzz.subject import RATE, START_NS, FuzzTarget, small_controller

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PICTURES = tuple(
    bytes(compressed_message(RGB, Time(), '', format).data) for format in ('jpeg', 'png')
)
words = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 12) | words
texts = st.text(max_size=20)
headers = st.builds(
    Header,
    stamp=st.builds(Time, sec=st.integers(-(2**31), 2**31 - 1), nanosec=words)
    | st.builds(time_message, st.integers(START_NS, START_NS + 10**10)),
    frame_id=texts,
)


def as_array(content):
    return array('B', content)


images = st.builds(
    Image, header=headers, height=sizes, width=sizes, step=sizes,
    encoding=st.sampled_from(list(CHANNELS)) | texts, is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=600).map(as_array),
)  # fmt: skip
consistent = st.tuples(sizes.filter(lambda n: 0 < n < 13), st.sampled_from(list(CHANNELS))).flatmap(
    lambda drawn: st.binary(min_size=1).map(
        lambda content: Image(
            header=Header(stamp=time_message(START_NS)), height=drawn[0], width=drawn[0],
            step=drawn[0] * CHANNELS[drawn[1]], encoding=drawn[1],
            data=as_array((content * 600)[: drawn[0] ** 2 * CHANNELS[drawn[1]]]),
        )
    )
)  # fmt: skip


@st.composite
def damaged(draw):
    """Compressed data: parts of pictures in any order, some bytes replaced."""
    parts = st.sampled_from(PICTURES).flatmap(
        lambda picture: st.slices(len(picture)).map(lambda part: picture[part])
    )
    data = bytearray(b''.join(draw(st.lists(parts | st.binary(max_size=20), max_size=3))))
    data = data if draw(st.booleans()) else bytearray(draw(st.sampled_from(PICTURES)))
    for place, value in draw(st.lists(st.tuples(words, st.integers(0, 255)), max_size=4)):
        if data:
            data[place % len(data)] = value
    return bytes(data)


compressed = st.builds(
    CompressedImage, header=headers, format=texts, data=damaged().map(as_array)
)
goals = st.builds(
    ReachGoal.Goal,
    goal_image=images | consistent,
    tolerance=st.floats(),
    timeout=st.floats(),
)


@pytest.fixture(scope='module')
def subject():
    return FuzzTarget(small_controller())


def nothing_broke(subject):
    assert not subject.counts.crashes and not subject.counts.violations


@settings(max_examples=400)
@given(message=images | consistent | compressed | goals, valid_image=st.booleans())
def test_any_message_is_taken_or_refused(subject, message, valid_image):
    subject.activate()
    if valid_image:
        subject.see_valid(np.random.default_rng(0))
    as_goal = isinstance(message, ReachGoal.Goal)
    subject.take(FuzzCase('any', message, type(message), False), as_goal)
    nothing_broke(subject)


def test_mutants_of_every_kind_break_nothing_and_do_not_move_the_robot():
    subject = FuzzTarget(small_controller())
    subject.fuzz(2000, np.random.default_rng(1))
    nothing_broke(subject)
    assert subject.counts.messages == 2000
    assert subject.counts.running > 400
    seen = {name.removesuffix(' as goal') for name in subject.counts.outcomes}
    kinds = {'image': IMAGE, 'compressed': COMPRESSED, 'goal': GOAL}
    assert seen == {f'{kind}: {name}' for kind, names in kinds.items() for name in names}


@pytest.mark.parametrize(
    'data',
    [
        bombs.png_bomb(), bombs.jpeg_bomb(PICTURES[0]), bombs.ppm_bomb(), bombs.bmp_bomb(),
        bombs.tiff_bomb(), bombs.webp_bomb(),
    ],
)  # fmt: skip
def test_bombs_are_refused_by_their_header(data):
    with pytest.raises(ImageError, match='pixels; the limit is 64000000'):
        check_compressed(data)


def test_the_judge_sees_commands_beyond_the_limits():
    subject = FuzzTarget(small_controller(rate=10 * RATE))
    subject.fuzz(200, np.random.default_rng(1))
    assert any('too fast' in fault for fault in subject.counts.violations)


def test_command_reports_and_judges(tmp_path, capsys):
    assert command.main(['--messages', '30', '--output', str(tmp_path)]) == 0
    assert '30 messages' in capsys.readouterr().out
    assert (tmp_path / 'report.json').exists()
    with pytest.raises(SystemExit, match='2'):
        command.main(['--messages', '0'])
