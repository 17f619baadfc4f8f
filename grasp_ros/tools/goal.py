"""The command `goal`: publish an image file, or what the camera sees now, as the goal image."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.messages.images import ImageError, read_image
from grasp_ros.ros.qos import DURABILITIES, goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import compressed_message, image_decoder, image_message
from grasp_ros.tools.goal_client import (
    SLICE_S,
    ActionError,
    Interruption,
    goal_message,
    reach,
    spin_until,
)

INTERRUPTED = 130
DESCRIPTION = """\
Show the planner where to go: publish an image as its goal image. Waits until a node
subscribes, publishes once, and ends when the image has arrived. With --wait the image goes
through the planner's action instead, progress is shown, and Ctrl-C stops the robot.
"""
EPILOG = """\
examples:
  goal --file kitchen.png
  goal --file kitchen.png --wait --limit 60
  goal --capture --save kitchen.png
  goal --capture --ros-args -r image:=/camera/image_raw -r goal_image:=/robot/goal_image

exit status: 0 published, 1 not published, 2 wrong arguments; with --wait 0 reached, 1 not accepted,
3 stalled, 4 timed out, 5 cancelled, 6 aborted
"""


class GoalError(Exception):
    """The goal could not be published; the message says why and what to check."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, without the program's name; `--ros-args ...` goes to ROS.

    Returns:
        The exit status: 0 once a subscriber has the goal, 1 with a message on standard error, 130
        after Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = _parse(given)
    interruption = Interruption()
    try:
        return _run(options, given, interruption)
    except (GoalError, ImageError, ActionError, InvalidTopicNameException) as error:
        print(f'goal: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('goal: interrupted', file=sys.stderr)
        return INTERRUPTED
    finally:
        interruption.release()


def _run(
    options: argparse.Namespace, arguments: list[str], interruption: Interruption
) -> int:
    """Do what the options say, within one ROS context; return the exit status."""
    rgb = read_image(options.file) if options.file is not None else None
    if options.save is not None:
        _check_writable(options.save)
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node('goal', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        if options.wait:
            return _reach(node, executor, rgb, options, interruption)
        publisher = node.create_publisher(
            _message_type(options.compressed), options.topic, goal_image_qos(options.durability)
        )
        captured = _capture(node, executor, options, interruption) if rgb is None else None
        _await_subscriber(node, executor, publisher, options.timeout, interruption)
        message = _message(node, rgb, options) if rgb is not None else captured
        subscribers = _publish(publisher, message, options.timeout, interruption)
        origin = options.file if rgb is not None else 'the camera image'
        print(f'Published {origin} on {publisher.topic_name} to {subscribers} subscriber(s).')
        return 0
    finally:
        rclpy.shutdown(context=context)


def _reach(
    node: Node,
    executor: SingleThreadedExecutor,
    rgb: NDArray[np.uint8] | None,
    options: argparse.Namespace,
    interruption: Interruption,
) -> int:
    """Send the goal through the action and wait; return the exit status."""
    if rgb is None:
        rgb = image_decoder(_capture(node, executor, options, interruption))()
    image = image_message(rgb, node.get_clock().now().to_msg(), '')
    goal = goal_message(image, options.tolerance, options.limit)
    return reach(node, executor, goal, options.action, options.timeout, interruption)


def write_image(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write an image (h, w, 3) uint8 RGB in the format of the path's extension.

    Raises:
        GoalError: if the format is unknown or the file cannot be written.
    """
    _check_writable(path)
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if not done:
            raise GoalError(f'{path}: OpenCV cannot write such an image as {path.suffix}')
        path.write_bytes(data.tobytes())
    except cv2.error as error:
        raise GoalError(f'{path}: {error}') from error
    except OSError as error:
        raise GoalError(f'{path}: cannot be written: {error.strerror}') from error


def _check_writable(path: Path) -> None:
    """See before the work is done whether `path` can be the name of an image file."""
    if not path.suffix or not cv2.haveImageWriter(f'x{path.suffix}'):
        raise GoalError(f'{path}: no image format has the extension {path.suffix!r}; use .png')
    if not path.absolute().parent.is_dir():
        raise GoalError(f'{path}: the folder {path.parent} does not exist')


def _capture(
    node: Node,
    executor: SingleThreadedExecutor,
    options: argparse.Namespace,
    interruption: Interruption,
) -> Any:
    """Wait for the next camera image; pass it on as it is, so that nothing is lost."""
    received: list[Any] = []
    subscription = node.create_subscription(
        _message_type(options.compressed), options.image_topic, received.append, image_qos()
    )
    topic = subscription.topic_name
    if not spin_until(executor, lambda: bool(received), options.timeout, interruption):
        raise GoalError(
            f'no image on {topic} within {options.timeout:g} s. '
            + _explain(node.get_publishers_info_by_topic(topic), 'publishes', subscription.msg_type)
        )
    message = received[-1]
    try:
        rgb = image_decoder(message)()
    except ImageError as error:
        raise GoalError(f'the image on {topic} cannot be used: {error}') from error
    if options.save is not None:
        write_image(options.save, rgb)
        print(f'Wrote {options.save}.')
    return message


def _message(node: Node, rgb: NDArray[np.uint8], options: argparse.Namespace) -> Any:
    stamp = node.get_clock().now().to_msg()
    if options.compressed:
        return compressed_message(rgb, stamp, '', 'png')
    return image_message(rgb, stamp, '')


def _await_subscriber(
    node: Node,
    executor: SingleThreadedExecutor,
    publisher: Publisher[Any],
    timeout_s: float,
    interruption: Interruption,
) -> None:
    topic = publisher.topic_name
    matched = spin_until(
        executor, lambda: publisher.get_subscription_count() > 0, timeout_s, interruption
    )
    if not matched:
        raise GoalError(
            f'nobody has subscribed to {topic} within {timeout_s:g} s. '
            + _explain(
                node.get_subscriptions_info_by_topic(topic), 'subscribes to', publisher.msg_type
            )
        )


def _publish(
    publisher: Publisher[Any], message: Any, timeout_s: float, interruption: Interruption
) -> int:
    """Publish, wait until every subscriber has the message, return how many there are."""
    subscribers = int(publisher.get_subscription_count())
    publisher.publish(message)
    deadline = time.monotonic() + timeout_s
    while not publisher.wait_for_all_acked(Duration(seconds=SLICE_S)):
        interruption.check()
        if time.monotonic() > deadline:
            raise GoalError(
                f'published on {publisher.topic_name}, but not every subscriber acknowledged '
                f'within {timeout_s:g} s; check that the planner still runs'
            )
    return subscribers


def _explain(endpoints: list[Any], verb: str, message_type: Any) -> str:
    """Advice where the other side did not show up, from those that are on the topic."""
    wanted = f'sensor_msgs/msg/{message_type.__name__}'
    if not endpoints:
        return (
            f'No node {verb} it: check that the node runs, the name of the topic (--topic, '
            '--image-topic, --ros-args -r), the namespace and ROS_DOMAIN_ID'
        )
    nodes = ', '.join(sorted({endpoint.node_name for endpoint in endpoints}))
    types = sorted({endpoint.topic_type for endpoint in endpoints})
    if wanted not in types:
        way_out = 'leave out' if message_type is CompressedImage else 'add'
        return f'{nodes} {verb} it as {", ".join(types)}, not {wanted}: {way_out} --compressed'
    if verb == 'publishes':
        return f'{nodes} publishes it, but sent nothing: check the camera'
    return (
        f'{nodes} subscribes to it with a quality of service that does not match: try '
        '--durability transient_local'
    )


def _message_type(compressed: bool) -> Any:
    return CompressedImage if compressed else Image


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _parser()
    try:
        own = remove_ros_args(['goal', *arguments])[1:]
    except Exception as error:  # rclpy has no public base class for its errors
        parser.error(str(error))
    options = parser.parse_args(own)
    if options.save is not None and not options.capture:
        parser.error('--save goes with --capture')
    if (options.tolerance or options.limit) and not options.wait:
        parser.error('--tolerance and --limit go with --wait')
    return options


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError('must be a positive number of seconds')
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float('inf'):
        raise argparse.ArgumentTypeError('must be a number, 0 or more')
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='goal',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--file', type=Path, metavar='FILE', help='an image (PNG, JPEG, ...) of the goal'
    )
    source.add_argument(
        '--capture', action='store_true', help='take what the camera sees now as the goal'
    )
    parser.add_argument(
        '--save',
        type=Path,
        metavar='FILE',
        help='with --capture: also write the image to FILE; its extension says the format',
    )
    parser.add_argument(
        '--topic', default='goal_image', help='where to publish the goal (default: %(default)s)'
    )
    parser.add_argument(
        '--image-topic',
        default='image',
        metavar='TOPIC',
        help='with --capture: the camera (default: %(default)s)',
    )
    parser.add_argument(
        '--compressed',
        action='store_true',
        help='the topics carry sensor_msgs/CompressedImage; a file is sent as PNG',
    )
    parser.add_argument(
        '--timeout',
        type=_seconds,
        default=5.0,
        metavar='S',
        help='seconds to wait for the camera, and again for a subscriber (default: %(default)s)',
    )
    parser.add_argument(
        '--durability',
        choices=list(DURABILITIES),
        default='volatile',
        help="must be transient_local where the planner's goal_image.durability is "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--wait',
        action='store_true',
        help='send the goal through the action, show progress, end with its outcome',
    )
    parser.add_argument(
        '--action',
        default='planner/reach_goal',
        metavar='NAME',
        help='with --wait: the action (default: %(default)s)',
    )
    parser.add_argument(
        '--tolerance',
        type=_amount,
        default=0.0,
        metavar='D',
        help="with --wait: goal distance that counts as reached (default: the planner's)",
    )
    parser.add_argument(
        '--limit',
        type=_amount,
        default=0.0,
        metavar='S',
        help='with --wait: seconds in which the goal must be reached (default: no limit)',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
