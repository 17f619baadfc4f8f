"""Does recording never wait for the disk, and say what the disk cost?"""

import threading

import pytest

pytest.importorskip('rclpy')

from grasp_ros.bags.message_types import BagError
from grasp_ros.bags.writer import BagWriter
from grasp_ros.tools.record import BagQueue, Item

ARRAY = 'std_msgs/msg/Float64MultiArray'
WAIT_S = 20.0


class Disk:
    """Takes `room` messages, each only when it is let; then it is full."""

    def __init__(self, room=1000):
        self.taken = []
        self.let = threading.Semaphore(0)
        self.busy = threading.Semaphore(0)
        self._room = room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def write_raw(self, topic, type_name, time_ns, data):
        self.busy.release()
        assert self.let.acquire(timeout=WAIT_S)
        if len(self.taken) == self._room:
            raise BagError('the disk is full')
        self.taken.append(time_ns)


def item(time_ns, size=10):
    return Item('/image', ARRAY, time_ns, bytes(size))


def test_what_does_not_fit_is_dropped_and_counted():
    disk = Disk()
    queue = BagQueue(lambda: disk, capacity_bytes=35)
    queue.put(item(0))
    assert disk.busy.acquire(timeout=WAIT_S)  # the first one is with the disk
    for time_ns in range(1, 6):
        queue.put(item(time_ns))
    disk.let.release(10)
    queue.close()
    assert disk.taken == [0, 1, 2, 3]
    assert (queue.written['/image'], queue.dropped['/image']) == (4, 2)
    assert disk.closed and queue.error is None


def test_a_full_disk_ends_recording_and_nothing_is_lost_silently():
    disk = Disk(room=2)
    queue = BagQueue(lambda: disk, capacity_bytes=1000)
    for time_ns in range(5):
        queue.put(item(time_ns))
    disk.let.release(10)
    queue.close()
    assert 'disk is full' in str(queue.error)
    queue.put(item(9))
    assert (queue.written['/image'], queue.dropped['/image']) == (2, 4)


def test_a_bag_that_cannot_be_made_is_an_error_at_once(tmp_path):
    BagWriter(tmp_path / 'bag').close()
    with pytest.raises(BagError, match='exists already'):
        BagQueue(lambda: BagWriter(tmp_path / 'bag'), 1000)
