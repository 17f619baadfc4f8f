"""The node `sim_robot`: a simulated robot with a camera, in two rooms or another task."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from grasp_ros.parameters.parameter import OneOf, ParameterGroup, parameter, rows
from grasp_ros.ros.parameter_declaration import declare_table
from grasp_ros.ros.qos import command_qos, goal_image_qos, image_qos
from grasp_ros.ros.ros_messages import compressed_message, image_message
from grasp_ros.ros.spin import spin
from grasp_ros.sim.protocol import Pose, ProprioceptiveRobot, RobotSettings
from grasp_ros.sim.registry import TASKS

CAMERA_FRAME, BODY_FRAME = 'camera', 'base_link'
GOAL_PERIOD_S = 1.0
RESET_TICKS = 20
"""Simulated camera periods that a reset takes, where time is simulated."""

class SimRobotParameters(ParameterGroup):
    """Parameters of the node `sim_robot`."""

    task: Annotated[str, OneOf(tuple(TASKS))] = parameter('two_room', 'what the robot does')
    seed: int = parameter(
        0, 'of the episode that starts at the next reset: in two_room even ones lead through the '
        'door, odd ones stay in the room; may be set at any time', 0, 2**31 - 1, live=True)
    image_rate: float = parameter(10.0, 'camera images per second', 0.1, 100.0, unit='Hz')
    max_speed: float = parameter(
        1.0, 'limit of each component of a velocity', 0.01, 100.0, unit='m/s')
    command_timeout: float = parameter(
        0.5, 'without one for so long a velocity ends', 0.01, 60, unit='s')
    time_scale: float = parameter(
        1.0, 'simulated seconds per second; other than 1, they are published on /clock',
        0.01, 1000.0)
    compressed: bool = parameter(
        False, 'publish image/compressed and goal_image/compressed (JPEG) too')


PARAMETERS = rows(SimRobotParameters)


class SimRobotNode(Node):
    """Publishes what the camera sees, obeys `command`, and knows the truth for monitors."""

    def __init__(self) -> None:
        """Start the episode of the parameter `seed`.

        Raises:
            ParameterError: if an override is unknown, of the wrong type or out of range.
        """
        super().__init__('sim_robot')
        params = declare_table(self, SimRobotParameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        settings = RobotSettings(params.max_speed, params.command_timeout)
        self._time = SimTime(self, params.time_scale, 1.0 / params.image_rate)
        self._robot = TASKS[params.task].robot(settings, params.seed, self._time.seconds())

        goal_qos = goal_image_qos('transient_local')
        self._image = self.create_publisher(Image, 'image', image_qos())
        self._goal_image = self.create_publisher(Image, 'goal_image', goal_qos)
        self._proprioception = (
            self.create_publisher(TwistStamped, 'proprioception', 10)
            if isinstance(self._robot, ProprioceptiveRobot)
            else None
        )
        self._compressed = (
            (
                self.create_publisher(CompressedImage, 'image/compressed', image_qos()),
                self.create_publisher(CompressedImage, 'goal_image/compressed', goal_qos),
            )
            if params.compressed
            else None
        )
        self._truth = {
            name: self.create_publisher(PoseStamped, f'ground_truth/{name}', 10)
            for name in self._robot.truth()
        }
        self.create_subscription(TwistStamped, 'command', self._obey, command_qos())
        self.create_service(Trigger, '~/reset', self._reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._camera_timer = self.create_timer(
            self._time.tick_period_s, self._publish_image, clock=steady
        )
        self.create_timer(GOAL_PERIOD_S, self._publish_goal, clock=steady)
        self._publish_goal()
        self._log_episode()

    def _on_set_parameters(self, changes: list[RosParameter]) -> SetParametersResult:
        fixed = [change.name for change in changes if change.name not in ('seed', 'use_sim_time')]
        return SetParametersResult(
            successful=not fixed, reason=f'{", ".join(fixed)}: read once, when the node starts'
        )

    def _obey(self, message: TwistStamped) -> None:
        linear = message.twist.linear
        try:
            self._robot.command([linear.x, linear.y], self._time.seconds())
        except ValueError as error:
            self.get_logger().warning(f'command ignored: {error}', throttle_duration_sec=5.0)

    def _publish_image(self) -> None:
        self._time.tick()
        self._robot.advance_to(self._time.seconds())
        stamp = self._time.stamp()
        rgb = self._robot.image()
        self._image.publish(image_message(rgb, stamp.to_msg(), CAMERA_FRAME))
        if self._compressed:
            message = compressed_message(rgb, stamp.to_msg(), CAMERA_FRAME)
            self._compressed[0].publish(message)
        if self._proprioception is not None and isinstance(self._robot, ProprioceptiveRobot):
            self._proprioception.publish(_proprioception_message(self._robot.velocity(), stamp))
        for name, pose in self._robot.truth().items():
            self._truth[name].publish(_message(pose, stamp, self._robot.frame))

    def _publish_goal(self) -> None:
        stamp = self._time.stamp().to_msg()
        rgb = self._robot.goal_image()
        self._goal_image.publish(image_message(rgb, stamp, CAMERA_FRAME))
        if self._compressed:
            self._compressed[1].publish(compressed_message(rgb, stamp, CAMERA_FRAME))

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Start the episode of the parameter `seed`; images and truth of it follow at once."""
        # Whoever records sees by the gap that the robot did not drive to where it is now.
        self._time.tick(RESET_TICKS)
        stamp = self._time.stamp()
        self._robot.reset(self.get_parameter('seed').value, self._time.seconds())
        self._camera_timer.reset()
        self._publish_image()
        self._publish_goal()
        self._log_episode()
        response.success = True
        answer = {**self._robot.episode(), 'stamp_ns': stamp.nanoseconds}
        response.message = json.dumps(answer)
        return response

    def _log_episode(self) -> None:
        seed = self._robot.episode()['seed']
        self.get_logger().info(f'episode of seed {seed}: {self._robot.summary()}')


def _proprioception_message(velocity: NDArray[np.float64], stamp: Time) -> TwistStamped:
    message = TwistStamped(header=Header(stamp=stamp.to_msg(), frame_id=BODY_FRAME))
    message.twist.linear.x, message.twist.linear.y = map(float, velocity)
    return message


def _message(pose: Pose, stamp: Time, frame: str) -> PoseStamped:
    message = PoseStamped(header=Header(stamp=stamp.to_msg(), frame_id=frame))
    message.pose.position.x, message.pose.position.y = pose.x, pose.y
    message.pose.orientation.z = math.sin(pose.angle / 2)
    message.pose.orientation.w = math.cos(pose.angle / 2)
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0, or 2 where a parameter is wrong.
    """
    return spin('sim_robot', arguments, lambda _ended: SimRobotNode())


START_S = 1.0
"""Zero would mean that there is no time yet."""


class SimTime:
    """Steady seconds for physics and stamps for messages."""

    def __init__(self, node: Node, scale: float, tick_s: float) -> None:
        """Begin.

        Args:
            node: publishes.
            scale: simulated seconds per second. At 1 it is the machine's time; any other runs
                in ticks and is published on /clock, so that all that happens between two ticks
                happens at the same time. A machine that is too slow makes it slower, not coarser.
            tick_s: simulated seconds of a tick.
        """
        self.tick_period_s = tick_s / scale
        self._node = node
        self._tick_ns = round(tick_s * 1e9)
        self._now_ns = round(START_S * 1e9)
        self._clock = None if scale == 1.0 else node.create_publisher(ClockMessage, '/clock', 10)

    def seconds(self) -> float:
        """Now, in seconds that only grow."""
        return time.monotonic() if self._clock is None else self._now_ns / 1e9

    def stamp(self) -> Time:
        """Now, for the header of a message."""
        if self._clock is None:
            return self._node.get_clock().now()
        return Time(nanoseconds=self._now_ns, clock_type=ClockType.ROS_TIME)

    def tick(self, count: int = 1) -> None:
        """Let simulated time go on; the machine's does by itself."""
        if self._clock is not None:
            self._now_ns += count * self._tick_ns
            self._clock.publish(ClockMessage(clock=self.stamp().to_msg()))


if __name__ == '__main__':
    sys.exit(main())
