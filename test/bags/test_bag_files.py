"""Do bags come back as they were written, and does a broken one say what is wrong with it?"""

import errno
import shutil
import sqlite3

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from grasp_ros.bags.message_types import (
    IMAGE,
    PLAN,
    STATUS,
    BagError,
    header,
    make_message,
    stamp_ns,
    typestore,
)
from grasp_ros.bags.reader import BagReader, content_hash
from grasp_ros.bags.writer import BagWriter

ARRAY = 'std_msgs/msg/Float64MultiArray'
FOREIGN = 'elsewhere_msgs/msg/Thing'


def numbers(*values):
    return make_message(ARRAY, data=list(values))


def write(path, count=3, **options):
    with BagWriter(path, **options) as bag:
        for index in range(count):
            bag.write('/numbers', ARRAY, 1000 + index, numbers(index, 0.5))
            bag.write('/status', STATUS, 1000 + index, make_message(STATUS, state=3, reason='é'))
    return path


def read(path, topic='/numbers'):
    with BagReader(path) as bag:
        return [(item.time_ns, item.message) for item in bag.messages([topic])]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compress', [False, True])
def test_what_is_written_is_read(tmp_path, storage, compress):
    path = write(tmp_path / 'bag', storage=storage, compress=compress)
    times, messages = zip(*read(path), strict=True)
    assert times == (1000, 1001, 1002)
    assert [message.data.tolist() for message in messages] == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert [message.reason for _, message in read(path, '/status')] == ['é'] * 3
    with BagReader(path) as bag:
        assert bag.topics == {'/numbers': (ARRAY, 3), '/status': (STATUS, 3)}
        assert bag.start_ns == 1000
    assert sorted(file.suffix for file in path.iterdir()) == sorted(
        ['.yaml', '.mcap' if storage == 'mcap' else '.db3']
    )


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_the_same_content_makes_the_same_messages_on_disk(tmp_path, storage):
    first, second = (write(tmp_path / side / 'bag', storage=storage) for side in 'ab')
    assert content_hash(first) == content_hash(second)
    assert content_hash(first) != content_hash(write(tmp_path / 'c' / 'bag', 2, storage=storage))


def test_fields_that_are_left_out_are_zero():
    status = make_message(STATUS)
    assert (status.state, status.reason, status.goal_distance, status.dry_run) == (0, '', 0, False)
    assert make_message(PLAN, actions=[1, 2]).actions.dtype == np.float64
    assert stamp_ns(make_message(IMAGE, header=header(1_500_000_000, 'a'))) == 1_500_000_000


def write_with_rosbags(path, storage, compression=None):
    """Write as another program would: its own types, its own topics, several of them."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg('float64 weight\nstring name\n', FOREIGN))
    thing, array = store.types[FOREIGN], store.types[ARRAY]
    layout = store.types['std_msgs/msg/MultiArrayLayout'](dim=[], data_offset=0)
    writer = Writer(path, version=8, storage_plugin=storage)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer as bag:
        things = bag.add_connection('/things', FOREIGN, typestore=store)
        arrays = bag.add_connection('/numbers', ARRAY, typestore=store)
        bag.write(things, 5, store.serialize_cdr(thing(weight=1.0, name='a'), FOREIGN))
        message = array(layout=layout, data=np.array([4.0]))
        bag.write(arrays, 6, store.serialize_cdr(message, ARRAY))
    return path


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('compression', [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_a_bag_of_rosbags_with_foreign_types(tmp_path, storage, compression):
    path = write_with_rosbags(tmp_path / 'bag', storage, compression)
    ((time_ns, message),) = read(path)
    assert (time_ns, message.data.tolist()) == (6, [4.0])


def test_one_storage_file_is_a_bag_too(tmp_path):
    path = write(tmp_path / 'bag')
    assert len(read(path / 'bag.mcap')) == 3


def test_several_files_are_read_in_turn(tmp_path):
    first = write(tmp_path / 'bag')
    with BagWriter(tmp_path / 'more') as bag:
        bag.write('/numbers', ARRAY, 2000, numbers(7))
    shutil.copy(tmp_path / 'more' / 'more.mcap', first / 'more.mcap')
    metadata = first / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('  - bag.mcap', '  - bag.mcap\n  - more.mcap'))
    assert [time_ns for time_ns, _ in read(first)] == [1000, 1001, 1002, 2000]


@pytest.mark.parametrize('storage', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_metadata_may_tell_another_quality_of_service_than_the_files(tmp_path, storage):
    """As after a conversion; the library itself then finds nothing, and says nothing."""
    path = write_with_rosbags(tmp_path / 'bag', storage)
    metadata = path / 'metadata.yaml'
    text = metadata.read_text()
    never = '{sec: 9, nsec: 9}'
    qos = (
        f'- {{history: 1, depth: 5, reliability: 2, durability: 2, deadline: {never}, '
        f'lifespan: {never}, liveliness: 1, liveliness_lease_duration: {never}, '
        'avoid_ros_namespace_conventions: false}'
    )
    changed = text.replace("offered_qos_profiles: ''", f"offered_qos_profiles: '{qos}'")
    assert changed != text
    metadata.write_text(changed)
    ((time_ns, message),) = read(path)
    assert (time_ns, message.data.tolist()) == (6, [4.0])


def test_messages_that_only_metadata_knows_are_missed(tmp_path):
    path = write(tmp_path / 'bag')
    metadata = path / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('/numbers', '/others'))
    with BagReader(path) as bag:
        assert bag.require('others', [ARRAY], '--image-topic') == '/others'
        with pytest.raises(BagError, match=r'lists messages on /others.* hold none.*reindex'):
            list(bag.messages(['/others']))


def test_a_status_of_an_older_version_is_read_by_its_own_definition(tmp_path):
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('uint8 state\nstring reason\n', STATUS))
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection('/status', STATUS, typestore=store)
        bag.write(connection, 1, store.serialize_cdr(store.types[STATUS](3, 'old'), STATUS))
    ((_, message),) = read(tmp_path / 'bag', '/status')
    assert message.reason == 'old'


def refused(path):
    with pytest.raises(BagError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_truncated_bag_is_refused(tmp_path, storage, share):
    path = write(tmp_path / 'bag', 2000, storage=storage)
    (file,) = (found for found in path.iterdir() if found.suffix in ('.mcap', '.db3'))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert 'corrupt' in refused(path)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_corrupt_bag_is_refused_or_read(tmp_path, storage):
    """Bytes changed anywhere: an error of ours, or messages; nothing else is raised."""
    path = write(tmp_path / 'bag', storage=storage)
    (file,) = (found for found in path.iterdir() if found.suffix in ('.mcap', '.db3'))
    good = file.read_bytes()
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(200):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 4):
            bad[place] ^= int(rng.integers(1, 256))
        file.write_bytes(bad)
        try:
            read(path)
        except BagError:
            errors += 1
    assert errors > 5


def test_what_is_no_bag_says_so(tmp_path):
    assert 'no such bag' in refused(tmp_path / 'nothing')
    (tmp_path / 'folder').mkdir()
    assert 'neither metadata.yaml nor a bag' in refused(tmp_path / 'folder')
    (tmp_path / 'folder' / 'part.mcap').write_bytes(b'')
    assert 'part.mcap' in refused(tmp_path / 'folder')
    (tmp_path / 'old.bag').write_bytes(b'#ROSBAG V2.0')
    assert 'rosbags-convert' in refused(tmp_path / 'old.bag')
    (tmp_path / 'text.mcap').write_text('hello')
    assert 'not a bag' in refused(tmp_path / 'text.mcap')
    sqlite3.connect(tmp_path / 'other.db3').close()
    assert 'not a bag' in refused(tmp_path / 'other.db3')
    write(tmp_path / 'bag')
    (tmp_path / 'bag' / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')
    assert 'corrupt' in refused(tmp_path / 'bag')


def test_an_empty_bag_says_so(tmp_path):
    BagWriter(tmp_path / 'bag').close()
    assert 'empty' in refused(tmp_path / 'bag')


def test_a_missing_topic_and_a_wrong_type_list_what_is_there(tmp_path):
    with BagReader(write(tmp_path / 'bag')) as bag:
        assert bag.require('numbers', [ARRAY], '--command-topic') == '/numbers'
        with pytest.raises(BagError, match=r'/image \(--image-topic\).* /numbers \(std_msgs'):
            bag.require('image', [IMAGE], '--image-topic')
        with pytest.raises(BagError, match=r'is of type std_msgs/msg/Float64MultiArray, not sens'):
            bag.require('/numbers', [IMAGE], '--image-topic')


def test_an_old_bag_is_not_overwritten(tmp_path):
    path = write(tmp_path / 'bag')
    with pytest.raises(BagError, match='exists already'):
        BagWriter(path)
    assert len(read(path)) == 3


def test_a_type_without_definition_is_refused(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write('/numbers', ARRAY, 1, numbers(1))
        with pytest.raises(BagError, match=r'/things is of type elsewhere_msgs/msg/Thing'):
            bag.write_raw('/things', FOREIGN, 2, b'')
    assert len(read(tmp_path / 'bag')) == 1


class FullDisk:
    """A file on a disk that has no more room than given, until the reserve is gone."""

    def __init__(self, file, reserve, room):
        self._file, self._reserve, self._room = file, reserve, room

    def write(self, data):
        if self._reserve.exists() and self._file.tell() + len(data) > self._room:
            self._file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_a_full_disk_ends_the_bag_and_keeps_what_was_written(tmp_path):
    path = tmp_path / 'bag'
    written = 0
    with BagWriter(path) as bag:
        storage = bag._writer.storage
        storage.bio = FullDisk(storage.bio, path / '.reserve', 3_000_000)
        with pytest.raises(BagError, match='the disk is full'):
            for written in range(100):
                bag.write('/numbers', ARRAY, written, numbers(*range(8000)))
        with pytest.raises(BagError, match='closed'):
            bag.write('/numbers', ARRAY, 0, numbers(1))
    assert 40 < written < 80
    assert len(read(path)) >= written
    assert not (path / '.reserve').exists()


def test_serialized_messages_pass_unchanged(tmp_path):
    data = bytes(typestore().serialize_cdr(numbers(3.25), ARRAY))
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write_raw('/numbers', ARRAY, 9, data)
    ((time_ns, message),) = read(tmp_path / 'bag')
    assert (time_ns, message.data.tolist()) == (9, [3.25])
