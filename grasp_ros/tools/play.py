"""The command `play`: cameras and goals of a bag into the live graph, with `/clock`."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, BagError
from grasp_ros.bags.reader import BagReader
from grasp_ros.ros.qos import goal_image_qos
from grasp_ros.ros.ros_messages import message_class, time_message
from grasp_ros.ros.spin import spin

DESCRIPTION = """\
Publish what sensors saw, and goals, as they were recorded, and the time of the recording on /clock,
for nodes with use_sim_time. Ends with the bag."""

CLOCK_S = 0.01
RELIABLE_DEPTH = 10
ASK_S = 1.0
ACKNOWLEDGED_S = 1.0
# Best-effort subscriptions acknowledge nothing, and what is still on its way to them is lost when
# the publisher ends.
LINGER_S = 0.5
FAILED = 2
CLASSES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage}


class PlayNode(Node):
    """Plays one bag; waits first until a node is active, if told to."""

    def __init__(self, bag: BagReader, options: argparse.Namespace, ended: threading.Event) -> None:
        """Play as the options say; set `ended` at the end of the bag.

        Raises:
            BagError: if a topic is missing or of a wrong type.
        """
        super().__init__('play')
        types = tuple(CLASSES)
        if options.topics:
            self._outputs = dict(self._as_recorded(bag, topic) for topic in options.topics)
        else:
            image = bag.require(options.image_topic, types, '--image-topic')
            camera = self.create_publisher(CLASSES[bag.topics[image][0]], 'image', RELIABLE_DEPTH)
            self._outputs = {image: camera}
        topics = list(self._outputs)
        if bag.has(options.goal_topic):
            goal = bag.require(options.goal_topic, types, '--goal-topic')
            topics.append(goal)
            self._outputs[goal] = self.create_publisher(
                CLASSES[bag.topics[goal][0]], 'goal_image', goal_image_qos('transient_local')
            )
        self._messages: Iterator[tuple[str, int, bytes]] = bag.raw_messages(topics)
        self._next = next(self._messages)
        self._rate = options.rate
        self._start_ns = self._next[1]
        self._began_ns: int | None = None
        self._ended = ended
        self.error: BagError | None = None
        self._clock_publisher = self.create_publisher(ClockMessage, '/clock', 10)
        self._state = (
            self.create_client(GetState, f'{options.wait_for}/get_state')
            if options.wait_for
            else None
        )
        self._asked: Any = None
        self._asked_s = 0.0
        self.create_timer(CLOCK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _as_recorded(self, bag: BagReader, topic: str) -> tuple[str, Any]:
        """Name in the bag, and a publisher under the same name.

        Raises:
            BagError: if nothing is recorded there, or its type is not installed.
        """
        name = bag.require(topic, {kind for kind, _ in bag.topics.values()}, '--topics')
        kind = bag.topics[name][0]
        found = message_class(kind)
        if found is None:
            raise BagError(f'{bag.path}: {name} is of type {kind}, which is not installed')
        return name, self.create_publisher(found, topic, RELIABLE_DEPTH)

    def finish(self) -> None:
        """Wait until the subscribers have what was played last."""
        if self._began_ns is None:
            return
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))
        time.sleep(LINGER_S)

    def _tick(self) -> None:
        if self._began_ns is None:
            self._clock_publisher.publish(ClockMessage(clock=time_message(self._start_ns)))
            if self._ready():
                self._began_ns = time.monotonic_ns()
                self.get_logger().info('playing')
            return
        elapsed = time.monotonic_ns() - self._began_ns
        now_ns = self._start_ns + round(self._rate * elapsed)
        try:
            while self._next[1] <= now_ns:
                topic, time_ns, data = self._next
                self._clock_publisher.publish(ClockMessage(clock=time_message(time_ns)))
                self._outputs[topic].publish(data)
                self._next = next(self._messages)
        except StopIteration:
            self._ended.set()
        except BagError as error:
            self.error = error
            self._ended.set()
        else:
            self._clock_publisher.publish(ClockMessage(clock=time_message(now_ns)))

    def _ready(self) -> bool:
        """Return whether the node that is waited for is active; asks once a second."""
        if self._state is None:
            return True
        if self._asked is not None and self._asked.done():
            answer, self._asked = self._asked.result(), None
            return answer is not None and answer.current_state.id == State.PRIMARY_STATE_ACTIVE
        # An answer may be lost while both sides discover each other.
        now = time.monotonic()
        if now - self._asked_s > ASK_S and self._state.service_is_ready():
            self._asked, self._asked_s = self._state.call_async(GetState.Request()), now
        return False


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, without the program's name; `--ros-args ...` goes to ROS.

    Returns:
        The exit status: 0 at the end of the bag, 2 if it cannot be read.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = _parse(given)
    errors: list[BagError | None] = []

    def end(node: PlayNode) -> None:
        node.finish()
        errors.append(node.error)

    try:
        with BagReader(options.bag) as bag:
            status = spin('play', given, lambda ended: PlayNode(bag, options, ended), end)
        for error in filter(None, errors):
            raise error
    except BagError as error:
        print(f'play: {error}', file=sys.stderr)
        return FAILED
    return status


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='play', description=DESCRIPTION)
    add = parser.add_argument
    add('bag', type=Path, help='folder of a bag, or one .mcap or .db3 file')
    add('--rate', type=_positive, default=1.0, help='times the speed of the recording '
        '(default: %(default)s)')
    add('--image-topic', default='image', metavar='TOPIC',
        help='of the camera in the bag (default: %(default)s)')
    add('--topics', nargs='+', default=[], metavar='TOPIC',
        help='in place of --image-topic: several cameras and proprioception, under their names')
    add('--goal-topic', default='goal_image', metavar='TOPIC',
        help='of the goals in the bag (default: %(default)s)')
    add('--wait-for', default='', metavar='NODE', help='begin when this lifecycle node is active')
    try:
        own = remove_ros_args(['play', *arguments])[1:]
    except Exception as error:  # rclpy has no public base class for its errors
        parser.error(str(error))
    return parser.parse_args(own)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError('must be a positive number')
    return value


if __name__ == '__main__':
    sys.exit(main())
