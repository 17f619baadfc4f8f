"""All that the planner node holds while it is active: a command each tick, a plan each replan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.control.types import Command
from grasp_ros.messages.images import ImageError
from grasp_ros.models.sensors import RgbImage
from grasp_ros.node.configuration import Configuration
from grasp_ros.node.diagnostics import Diagnostics
from grasp_ros.node.inputs import take_image, take_proprioception
from grasp_ros.node.latency_trace import PhaseRecorder
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.planning_thread import PlanningThread
from grasp_ros.node.replanner import Replanner
from grasp_ros.node.status_publisher import StateLog, StatusPublisher, TickMonitor
from grasp_ros.node.watchdog import Watchdog
from grasp_ros.ros.ros_messages import image_kind, stamp_ns

ACKNOWLEDGE_S = 0.2


@dataclass(frozen=True, eq=False)
class Telemetry:
    """Reports of the node on itself, from its construction on.

    Attributes:
        phases: durations of the phases of planning.
        diagnostics: publishes /diagnostics.
        log: of states and warnings.
    """

    phases: PhaseRecorder
    diagnostics: Diagnostics
    log: StateLog


class Activation:
    """One activation, which starts with nothing known.

    All is used on the executor's thread, but `replan`. The timer calls `tick` until `end`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        configuration: Configuration,
        parameters: LiveParameters,
        thread: PlanningThread,
        telemetry: Telemetry,
        request_replan: Callable[[], None],
    ) -> None:
        """Begin to tick.

        Args:
            node: that is active.
            configuration: of the node.
            parameters: of the node.
            thread: plans.
            telemetry: of the node.
            request_replan: has `replan` called on the planning thread.
        """
        self._node, self._configuration = node, configuration
        self._parameters, self._telemetry = parameters, telemetry
        self._request_replan = request_replan
        self._over = False
        stack, topics = configuration.stack, configuration.topics
        self._controller = stack.controller
        self._controller.reset()
        configuration.goals.forget()
        telemetry.diagnostics.start(parameters.current)
        telemetry.log.clear()
        period_ns = round(1e9 / stack.manifest.control_rate)
        # On the wall the steady clock keeps the period; simulated time must drive it itself.
        simulated = node.get_parameter('use_sim_time').value
        self._clock = node.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self._ticks = TickMonitor(period_ns, self._clock.now().nanoseconds)
        self._watchdog = Watchdog(node, configuration, parameters, thread, self._tick_at)
        self._replanner = Replanner(
            stack, self._watchdog, parameters, self._now_ns, telemetry.log.warn
        )
        self._status = StatusPublisher(
            stack, topics, self._replanner, self._watchdog, telemetry.diagnostics, parameters
        )
        self._timer = node.create_timer(period_ns / 1e9, self._tick_now, clock=self._clock)

    def end(self) -> None:
        """Cancel the timer and publish the stop."""
        self._over = True
        self._node.destroy_timer(self._timer)
        self._watchdog.destroy()
        self.publish_stop()
        self._telemetry.diagnostics.stop()
        self._configuration.reach.abort('the node was deactivated')
        self._configuration.goals.forget()

    def publish_stop(self) -> None:
        """Publish all of the stop and wait until it is acknowledged."""
        commanded = False
        for command in self._controller.halt(self._now_ns()):
            if commanded:
                time.sleep(self._configuration.commands.period_s)
            self._send(command)
            commanded = True
        if commanded:
            timeout = Duration(nanoseconds=round(ACKNOWLEDGE_S * 1e9))
            if not self._configuration.topics.command.wait_for_all_acked(timeout):
                self._node.get_logger().warning(
                    f'the stop on command was not acknowledged within {ACKNOWLEDGE_S} s'
                )

    def take_image(self, message: Image | CompressedImage, camera: str) -> None:
        """Hand an image to the controller; a complete observation is planned from."""
        with self._telemetry.phases('receive', stamp_ns(message.header.stamp)):
            before = self._controller.observations
            refused = take_image(
                self._controller, self._now_ns(), time.monotonic_ns(), message, camera
            )
            if not self._taken('image', before, refused):
                return
        self._watchdog.image(camera, image_kind(message))
        if stamp_ns(message.header.stamp) == 0:
            self._telemetry.log.warn(
                'zero stamp', 'images carry no stamp; they count as acquired now', once=True
            )

    def take_proprioception(self, message: Any) -> None:
        """Hand proprioception to the controller; a complete observation is planned from."""
        layout = self._configuration.proprioception
        if layout is None:
            return
        before = self._controller.observations
        refused = take_proprioception(
            self._controller, self._now_ns(), time.monotonic_ns(), message, layout
        )
        self._taken('proprioception', before, refused)

    def replan(self) -> None:
        """Plan once; on the planning thread."""
        self._replanner.replan()

    def take_goal(self, message: Image | CompressedImage) -> None:
        """Decode a goal image of the topic on the planning thread, unless it is the present one."""
        try:
            self._configuration.goals.take(message, self._goal_decoded, self._goal_failed)
        except ImageError as error:
            self._telemetry.log.warn('goal', f'goal image refused: {error}')

    def _goal_decoded(self, image: RgbImage) -> None:
        self._configuration.reach.abort('replaced by a goal image on the topic')
        self._node.get_logger().info(f'new goal image, {image.shape[1]} x {image.shape[0]}')
        self._request_replan()

    def _goal_failed(self, reason: str) -> None:
        self._telemetry.log.warn('goal', f'goal image refused: {reason}')
        self._request_replan()

    def _taken(self, sensor: str, observations_before: int, refused: str | None) -> bool:
        """Whether data of a sensor were taken; where they complete an observation, plan from it."""
        if refused:
            self._watchdog.images_refused += 1
            self._telemetry.log.warn(sensor, f'{sensor} refused: {refused}')
            return False
        if self._controller.observations > observations_before:
            self._request_replan()
        return True

    def _tick_now(self) -> None:
        self._tick(self._node.get_clock().now())

    def _tick_at(self, now_ns: int) -> None:
        self._tick(Time(nanoseconds=now_ns, clock_type=self._clock.clock_type))

    def _tick(self, now: Time) -> None:
        """One control period; the command comes first."""
        if self._over:  # the executor had found the timer ready before it was cancelled
            return
        self._watchdog.watch_thread()
        command = self._controller.command(now.nanoseconds, time.monotonic_ns())
        if command.action is not None and not self._parameters.current.dry_run:
            self._send(command)
        clock_ns = self._clock.now().nanoseconds
        jitter_s = self._ticks.tick(clock_ns)
        self._telemetry.log.state(command)
        self._configuration.reach.tick(clock_ns, command)
        self._watchdog.ticked(command.state)
        self._status.tick(now, command, jitter_s, self._ticks.missed)

    def _send(self, command: Command) -> None:
        assert command.action is not None
        with self._telemetry.phases('publish', command.observation_stamp_ns):
            stamp = self._node.get_clock().now().to_msg()
            message = self._configuration.commands.encode(command.action, stamp)
            self._configuration.topics.command.publish(message)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
