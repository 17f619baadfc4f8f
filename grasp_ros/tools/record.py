"""The command `record`: camera, goals, commands, status and plans of the live graph into a bag."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import remove_ros_args

from grasp_ros.bags.message_types import BagError, typestore
from grasp_ros.bags.writer import BagWriter
from grasp_ros.ros.ros_messages import message_class
from grasp_ros.ros.spin import spin

DESCRIPTION = """\
Record camera, proprioception, goals, commands, status and plans into a bag (mcap or sqlite3) as
they are, without decoding anything. Ctrl-C ends it."""
EPILOG = """\
Exit status: 0; 1 if the bag cannot be written (as when the disk is full: what it holds then can be
read) or nothing was recorded; 2 for wrong arguments."""

TOPICS = ('image', 'goal_image', 'command', 'planner/status', 'planner/plan')
OPTIONAL = ('proprioception',)
"""Recorded by default, too, but missed by nobody: most models have none."""
DISCOVERY_S = 0.2
DEPTH = 100
FAILED = 1


class RecordNode(Node):
    """Subscribes to topics as they appear, with a quality of service that their publishers meet."""

    def __init__(self, topics: Sequence[str], queue: BagQueue, ended: threading.Event) -> None:
        """Record `topics` into `queue`; set `ended` when it cannot write any more."""
        super().__init__('record')
        self._queue = queue
        self._ended = ended
        self._missing = [self.resolve_topic_name(topic) for topic in topics]
        self._optional = [self.resolve_topic_name(topic) for topic in OPTIONAL]
        self._recorded: list[Any] = []
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_S, self._discover, clock=steady)
        self._discover()

    @property
    def missing(self) -> tuple[str, ...]:
        """Topics that nobody published so far."""
        return tuple(topic for topic in self._missing if topic not in self._optional)

    def _discover(self) -> None:
        if self._queue.error is not None:
            self._ended.set()
            return
        types = dict(self.get_topic_names_and_types())
        for topic in tuple(self._missing):
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers or topic not in types:
                continue
            self._missing.remove(topic)
            self._subscribe(topic, types[topic], publishers)

    def _subscribe(self, topic: str, types: list[str], publishers: list[Any]) -> None:
        type_name = types[0]
        message_type = message_class(type_name)
        known = type_name in typestore().fielddefs and message_type is not None
        if len(types) > 1 or not known:
            self.get_logger().error(
                f'{topic} is not recorded: its type is {", ".join(types)}; one is needed, of ROS '
                'or of this package'
            )
            return
        self._recorded.append(
            self.create_subscription(
                message_type,
                topic,
                lambda data: self._keep(topic, type_name, data),
                offered(publishers),
                raw=True,
            )
        )
        self.get_logger().info(f'recording {topic} ({type_name})')

    def _keep(self, topic: str, type_name: str, data: bytes) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._queue.put(Item(topic, type_name, now_ns, data))


def offered(publishers: list[Any]) -> QoSProfile:
    """The strictest quality of service that all publishers offer, none of it lost in a queue."""
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(p.reliability == QoSReliabilityPolicy.RELIABLE for p in profiles)
    kept = all(p.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if kept else QoSDurabilityPolicy.VOLATILE,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, without the program's name; `--ros-args ...` goes to ROS.

    Returns:
        The exit status, as `--help` says.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = _parse(given)
    path = options.output or Path('out', time.strftime('bag_%Y-%m-%d_%H-%M-%S'))
    try:
        queue = BagQueue(
            lambda: BagWriter(path, options.storage, options.compress),
            round(options.queue * (1 << 20)),
        )
    except BagError as error:
        print(f'record: {error}', file=sys.stderr)
        return FAILED
    missing: tuple[str, ...] = ()

    def end(node: RecordNode) -> None:
        nonlocal missing
        missing = node.missing
        queue.close()

    try:
        status = spin(
            'record', given, lambda ended: RecordNode(options.topics, queue, ended), end
        )
    finally:
        queue.close()
    if status:
        return status
    return _conclude(path, queue, missing)


def _conclude(path: Path, queue: BagQueue, missing: tuple[str, ...]) -> int:
    """Say what was recorded and what was not."""
    counts = ', '.join(f'{topic} {count}' for topic, count in sorted(queue.written.items()))
    print(f'Recorded in {path}: {counts or "nothing"}.')
    if missing:
        print(f'record: nobody published {", ".join(missing)}', file=sys.stderr)
    if queue.dropped:
        counts = ', '.join(f'{topic} {count}' for topic, count in sorted(queue.dropped.items()))
        reason = 'the disk was too slow' if queue.error is None else 'the bag ended early'
        print(f'record: {reason}; lost: {counts}', file=sys.stderr)
    if queue.error is not None:
        print(f'record: {queue.error}', file=sys.stderr)
    return FAILED if queue.error is not None or not queue.written else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='record',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--output', type=Path, metavar='FOLDER',
        help='the bag; must not exist (default: out/bag_<date>)')
    add('--topics', nargs='+', default=[*TOPICS, *OPTIONAL], metavar='TOPIC',
        help=f'(default: {" ".join(TOPICS)}, and {" ".join(OPTIONAL)} where it is published); '
        'cameras of which there are several are named image/<camera>')
    add('--storage', choices=('mcap', 'sqlite3'), default='mcap', help='(default: %(default)s)')
    add('--compress', action='store_true', help='compress with zstd')
    add('--queue', type=_megabytes, default=256.0, metavar='MIB',
        help='memory for messages that wait for the disk (default: %(default)s)')
    try:
        own = remove_ros_args(['record', *arguments])[1:]
    except Exception as error:  # rclpy has no public base class for its errors
        parser.error(str(error))
    return parser.parse_args(own)


def _megabytes(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError('must be a positive number of MiB')
    return value


@dataclass(frozen=True)
class Item:
    """A serialized message of `topic`, received at `time_ns`."""

    topic: str
    type_name: str
    time_ns: int
    data: bytes


class BagQueue:
    """Takes messages without ever waiting for the disk; what does not fit is dropped and counted.

    Attributes:
        written: messages on the disk, by topic.
        dropped: messages lost to a slow disk, by topic.
        error: why writing ended early, or None.
    """

    def __init__(self, open_bag: Callable[[], BagWriter], capacity_bytes: int) -> None:
        """Start the thread, which makes the bag.

        Args:
            open_bag: called on the writing thread: sqlite3 ties a file to a thread.
            capacity_bytes: of the messages that wait.

        Raises:
            BagError: if the bag cannot be created.
        """
        self.written: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.error: BagError | None = None
        self._capacity = capacity_bytes
        self._waiting_bytes = 0
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._write_all, args=(open_bag,), daemon=True)
        self._thread.start()
        self._opened.wait()
        if self.error is not None:
            raise self.error

    def put(self, item: Item) -> None:
        """Have a message written."""
        with self._condition:
            full = self._waiting_bytes + len(item.data) > self._capacity
            if full or self._closing or self.error is not None:
                self.dropped[item.topic] += 1
                return
            self._items.append(item)
            self._waiting_bytes += len(item.data)
            self._condition.notify()

    def close(self) -> None:
        """Write what waits, finish the bag; `error` says whether that went well."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _write_all(self, open_bag: Callable[[], BagWriter]) -> None:
        try:
            bag = open_bag()
        except BagError as error:
            self.error = error
            return
        finally:
            self._opened.set()
        item: Item | None = None
        try:
            with bag:
                while (item := self._next()) is not None:
                    bag.write_raw(item.topic, item.type_name, item.time_ns, item.data)
                    self.written[item.topic] += 1
        except BagError as error:
            with self._condition:
                self.error = error
                self.dropped.update(lost.topic for lost in self._items)
                self._items.clear()
                if item is not None:
                    self.dropped[item.topic] += 1

    def _next(self) -> Item | None:
        """The next message; None when the bag is to be closed."""
        with self._condition:
            while not self._items and not self._closing:
                self._condition.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._waiting_bytes -= len(item.data)
            return item


if __name__ == '__main__':
    sys.exit(main())
