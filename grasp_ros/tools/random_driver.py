"""The node `random_driver`: drives the simulated robot about at random, so that bags hold motion.

It answers each image with a velocity and starts another episode of the robot now and then. It ends
by itself when it has driven all episodes.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from grasp_ros.parameters.parameter import ParameterGroup, parameter
from grasp_ros.ros.parameter_declaration import declare_table
from grasp_ros.ros.qos import command_qos, image_qos
from grasp_ros.ros.ros_messages import stamp_ns
from grasp_ros.ros.spin import spin
from grasp_ros.sim.motion import correlated_velocities

LOGGED_EVERY = 100
PATIENCE_S = 2.0
"""For an answer; one may be lost where the robot does not know this node well enough yet."""

class RandomDriverParameters(ParameterGroup):
    """Parameters of the node `random_driver`."""

    seed: int = parameter(0, 'of all randomness', 0, 2**31 - 1)
    first_episode: int = parameter(100_000, "seed of the robot's first episode", 0, 2**30)
    episodes: int = parameter(100, 'to drive', 1, 2**20)
    episode_steps: int = parameter(60, 'images of an episode that are answered', 1, 100_000)
    listeners: int = parameter(1, 'subscriptions to the command to wait for', 1, 100)
    max_speed: float = parameter(
        1.0, 'of each component of the velocity', 0.01, 100.0, unit='m/s')


class RandomDriverNode(Node):
    """Answers images with velocities that change now and then."""

    def __init__(self, ended: threading.Event) -> None:
        """Begin with the first episode.

        Args:
            ended: set once all episodes have been driven.

        Raises:
            ParameterError: if an override is unknown, of the wrong type or out of range.
        """
        super().__init__('random_driver')
        self._params = declare_table(self, RandomDriverParameters)
        self._ended = ended
        self._rng = np.random.default_rng(self._params.seed)
        self._episode = 0
        self._velocities: list[NDArray[np.float64]] = []
        self._starts_at_ns: int | None = None
        self._command = self.create_publisher(TwistStamped, 'command', command_qos())
        self._robot_parameters = self.create_client(SetParameters, 'sim_robot/set_parameters')
        self._reset = self.create_client(Trigger, 'sim_robot/reset')
        self.create_subscription(Image, 'image', self._answer, image_qos())
        self._waiting = self.create_timer(0.1, self._begin)
        self._asked: Future | None = None
        self._ask_again: Callable[[], None] = lambda: None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._impatience = self.create_timer(PATIENCE_S, self._repeat, clock=steady)

    def _begin(self) -> None:
        """Start the first episode as soon as robot and recorder are there."""
        heard = self._command.get_subscription_count() >= self._params.listeners
        if heard and self._robot_parameters.service_is_ready() and self._reset.service_is_ready():
            self._waiting.cancel()
            self._next_episode()

    def _next_episode(self) -> None:
        if self._episode == self._params.episodes:
            self.get_logger().info(f'{self._episode} episodes driven')
            self._ended.set()
            return
        if self._episode % LOGGED_EVERY == 0:
            self.get_logger().info(f'episode {self._episode} of {self._params.episodes}')
        seed = RosParameter('seed', value=self._params.first_episode + self._episode)
        request = SetParameters.Request(parameters=[seed.to_parameter_msg()])
        self._ask(self._robot_parameters, request, self._request_reset)

    def _request_reset(self, answer: SetParameters.Response) -> None:
        if not answer.results[0].successful:
            self.get_logger().error(f'the robot refuses the episode: {answer.results[0].reason}')
            self._ended.set()
            return
        self._ask(self._reset, Trigger.Request(), self._start)

    def _start(self, answer: Trigger.Response) -> None:
        steps, limit = self._params.episode_steps, self._params.max_speed
        self._velocities = list(correlated_velocities(1, steps, limit, self._rng)[0])
        self._starts_at_ns = int(json.loads(answer.message)['stamp_ns'])
        self._episode += 1

    def _ask(self, client: Any, request: Any, proceed: Callable[[Any], None]) -> None:
        """Call a service, again if it does not answer, and go on with its answer."""
        self._asked = asked = client.call_async(request)
        self._ask_again = partial(self._ask, client, request, proceed)
        self._impatience.reset()

        def answered(done: Future) -> None:
            if self._asked is asked:
                self._asked = None
                proceed(done.result())

        asked.add_done_callback(answered)

    def _repeat(self) -> None:
        if self._asked is not None:
            self._ask_again()

    def _answer(self, image: Image) -> None:
        """Command what comes next; the stamp is that of the image it answers."""
        if self._starts_at_ns is None or stamp_ns(image.header.stamp) < self._starts_at_ns:
            return
        if not self._velocities:
            self._starts_at_ns = None
            self._next_episode()
            return
        x, y = map(float, self._velocities.pop(0))
        message = TwistStamped(header=Header(stamp=image.header.stamp, frame_id='base_link'))
        message.twist.linear.x, message.twist.linear.y = x, y
        self._command.publish(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it has driven all episodes, or SIGINT or SIGTERM.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0, or 2 where a parameter is wrong.
    """
    return spin('random_driver', arguments, RandomDriverNode)


if __name__ == '__main__':
    sys.exit(main())
