"""The lifecycle node `planner`: images in, commands out, on time or stopped."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from grasp_ros.control.controller import Controller
from grasp_ros.control.factory import PlannerStack, build_stack, reconfigure
from grasp_ros.control.types import Command
from grasp_ros.messages.commands import command_layout
from grasp_ros.messages.images import ImageError
from grasp_ros.messages.proprioception import proprioception_layout
from grasp_ros.models.checkpoint import CheckpointError
from grasp_ros.models.sensors import RgbImage
from grasp_ros.node.diagnostics import Diagnostics
from grasp_ros.node.goals import GoalIntake
from grasp_ros.node.inputs import take_image, take_proprioception
from grasp_ros.node.interfaces import Topics, make_topics
from grasp_ros.node.latency_trace import PhaseRecorder
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.planning_thread import PlanningThread, leave
from grasp_ros.node.reach_goal import ReachGoalServer
from grasp_ros.node.replanner import Replanner
from grasp_ros.node.status_publisher import StateLog, StatusPublisher, TickMonitor
from grasp_ros.node.watchdog import Watchdog, model_files
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.planning.process_tuning import (
    allocate_from_one_heap,
    freeze,
    keep_freed_memory,
    unfreeze,
)
from grasp_ros.ros.rclpy_private import lifecycle_state
from grasp_ros.ros.ros_messages import MESSAGE_TYPES, image_kind, make_message, stamp_ns
from grasp_ros.ros.spin import SPIN_S, spin

ACKNOWLEDGE_S = 0.2
SWITCH_INTERVAL_S = 0.0001


class PlannerNode(LifecycleNode):
    """Wires the controller to topics, parameters and time.

    The executor thread runs every callback and the command timer; it never plans, decodes or
    waits for the planning thread while active.
    """

    def __init__(self, ended: threading.Event) -> None:
        """Declare the parameters.

        Args:
            ended: set by a signal; loading a model is given up then.

        Raises:
            ParameterError: if an override is unknown, of the wrong type or out of range.
        """
        super().__init__('planner')
        self._ended = ended
        self._live_parameters = LiveParameters(self, self._on_parameters_changed)
        self._thread = PlanningThread()
        self._phases = PhaseRecorder()
        self._diagnostics = Diagnostics(self, self._phases)
        self._log = StateLog(self.get_logger())
        self._warn = self._log.warn
        self._parts: PlannerStack | None = None
        self._active = False
        self._timer: Any = None
        self._topics: Topics | None = None
        self._reach: ReachGoalServer | None = None

    # Lifecycle. rclpy swallows exceptions in transitions, so each is caught and logged here.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validate, load, warm up; FAILURE with a reason in the log."""
        try:
            params = self._live_parameters.read()
            self.get_logger().info(f'loading model {params.model!r} and warming up ...')
            self._files = model_files(params.model)
            parts = self._load(params)
            if parts is None:
                self.get_logger().info('interrupted while loading the model')
                return TransitionCallbackReturn.FAILURE
            encoder = command_layout(params.command, parts.manifest, make_message)
            inputs = parts.controller.inputs
            self._layout = proprioception_layout(
                params.proprioception.type, params.proprioception.fields, inputs
            )
            self._parts, self._encoder = parts, encoder
            self._topics = make_topics(
                self,
                params,
                MESSAGE_TYPES[encoder.command_type],
                inputs,
                self._on_image,
                self._on_proprioception,
                self._on_goal,
                self._on_enable,
            )
            self._goals = GoalIntake(parts.controller, self._thread.call, self._post)
            self._reach = ReachGoalServer(
                self,
                parts.controller,
                self._goals,
                parts.planner.distance.unit,
                params.goal.hold_time,
                is_active=lambda: self._active,
                on_goal=lambda: self._thread.trigger(self._replan),
            )
            self._live_parameters.frozen = True
        except (ParameterError, CheckpointError, ValueError) as error:
            self.get_logger().error(f'cannot configure: {error}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'cannot configure:\n{traceback.format_exc()}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        freeze()
        times = ', '.join(f'{1e3 * seconds:.0f}' for seconds in parts.warm_up_s)
        self.get_logger().info(
            f'configured: {params.planner.name} on {parts.model.device} '
            f'({parts.planner.execution}), warm-up solves {times} ms'
        )
        if parts.planner.execution.failure:
            self.get_logger().warning(
                f'the planner is slower than it could be: {parts.planner.execution}'
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start with nothing known; the command timer begins to tick."""
        assert self._parts is not None
        assert self._topics is not None
        result = super().on_activate(state)
        self._parts.controller.reset()
        self._goals.forget()
        self._diagnostics.start(self._live_parameters.current)
        self._log.clear()
        period_ns = round(1e9 / self._parts.manifest.control_rate)
        # On the wall the steady clock keeps the period; simulated time must drive it itself.
        simulated = self.get_parameter('use_sim_time').value
        clock = self.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self._tick_clock = clock
        self._ticks = TickMonitor(period_ns, clock.now().nanoseconds)
        self._timer = self.create_timer(period_ns / 1e9, self._on_tick, clock=clock)
        self._supervisor = Watchdog(
            self,
            self._parts,
            self._thread,
            self._topics.command,
            self._live_parameters,
            lambda now_ns: self._tick(Time(nanoseconds=now_ns, clock_type=clock.clock_type)),
            self._files,
        )
        self._replanner = Replanner(
            self._parts,
            self._supervisor,
            self._live_parameters,
            lambda: self.get_clock().now().nanoseconds,
            self._warn,
        )
        self._status = StatusPublisher(
            self._parts,
            self._topics,
            self._replanner,
            self._supervisor,
            self._ticks,
            self._diagnostics,
            self._live_parameters,
        )
        self._active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the stop, wait until it is acknowledged, then fall silent."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of model, planner and topics."""
        self._halt()
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot whatever the state was."""
        self._halt()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot and let go of everything; the node can be configured again."""
        self._halt()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def end(self) -> None:
        """Stop the robot and end the lifecycle and the planning thread."""
        if lifecycle_state(self) != 'finalized':
            self.trigger_shutdown()
        if self._reach is not None:
            self._reach.flush()
        self._thread.stop(ACKNOWLEDGE_S)

    def _load(self, params: NodeParameters) -> PlannerStack | None:
        """Load on the planning thread; None where a signal ended the wait."""
        limit_s = params.planner.hang_timeout
        while self._thread.busy_s and not self._ended.is_set():
            if 0 < limit_s < self._thread.busy_s:
                self.get_logger().warning('the planning thread hangs: another one takes over')
                self._thread.stop(0.0)
                self._thread = PlanningThread()
            time.sleep(SPIN_S / 10)
        loading = self._thread.call(lambda: build_stack(params, self._phases))
        while not self._ended.is_set():
            if wait([loading], timeout=SPIN_S).done:
                return loading.result()
        return None

    def _release(self) -> None:
        self._live_parameters.frozen = False
        if self._topics is not None:
            self._topics.destroy(self)
        self._topics = None
        if self._reach is not None:
            self._reach.destroy()
        self._reach = None
        self._parts = None
        unfreeze()

    def _halt(self) -> None:
        """Cancel the timer and publish the stop; once, however often it is called."""
        if not self._active:
            return
        self._active = False
        self.destroy_timer(self._timer)
        self._supervisor.destroy()
        self._publish_stop()
        self._diagnostics.stop()
        if self._reach is not None:
            self._reach.abort('the node was deactivated')
        self._goals.forget()

    def _publish_stop(self) -> None:
        """Publish all of the stop and wait until it is acknowledged."""
        assert self._parts is not None
        assert self._topics is not None
        stop = self._parts.controller.halt(self.get_clock().now().nanoseconds)
        commanded = False
        for command in stop:
            if commanded:
                time.sleep(1 / self._parts.manifest.control_rate)
            self._send(command)
            commanded = True
        if commanded:
            timeout = Duration(nanoseconds=round(ACKNOWLEDGE_S * 1e9))
            if not self._topics.command.wait_for_all_acked(timeout):
                self.get_logger().warning(
                    f'the stop on command was not acknowledged within {ACKNOWLEDGE_S} s'
                )

    # Callbacks of the executor thread.

    def _on_image(self, message: Image | CompressedImage, camera: str) -> None:
        with self._phases('receive', stamp_ns(message.header.stamp)):
            taken = self._sense(
                'image', lambda to, now, steady: take_image(to, now, steady, message, camera)
            )
        if not taken:
            return
        self._supervisor.picture(camera, image_kind(message))
        if stamp_ns(message.header.stamp) == 0:
            self._warn('zero stamp', 'images carry no stamp; they count as acquired now', once=True)

    def _on_proprioception(self, message: Any) -> None:
        layout = self._layout
        if layout is not None:
            self._sense(
                'proprioception',
                lambda to, now, steady: take_proprioception(to, now, steady, message, layout),
            )

    def _sense(self, what: str, take: Callable[[Controller, int, int], str | None]) -> bool:
        """Hand the controller something, plan where an observation is complete; False: refused."""
        if not self._active or self._parts is None:
            return False
        controller = self._parts.controller
        before = controller.observations
        refused = take(controller, self.get_clock().now().nanoseconds, time.monotonic_ns())
        if refused:
            self._supervisor.images_refused += 1
            self._warn(what, f'{what} refused: {refused}')
            return False
        if controller.observations > before:
            self._thread.trigger(self._replan)
        return True

    def _on_goal(self, message: Image | CompressedImage) -> None:
        if not self._active or self._parts is None:
            return
        try:
            self._goals.take(message, self._goal_decoded, self._goal_failed)
        except ImageError as error:
            self._warn('goal', f'goal image refused: {error}')

    def _goal_decoded(self, picture: RgbImage) -> None:
        if self._reach is not None:
            self._reach.abort('replaced by a goal image on the topic')
        self.get_logger().info(f'new goal image, {picture.shape[1]} x {picture.shape[0]}')
        self._thread.trigger(self._replan)

    def _goal_failed(self, reason: str) -> None:
        self._warn('goal', f'goal image refused: {reason}')
        self._thread.trigger(self._replan)

    def _post(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Call `job` on the executor's thread; from any thread."""
        if self.executor is not None:
            self.executor.create_task(job, *arguments)

    def _on_enable(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if self._parts is None or not self._active:
            response.success, response.message = False, 'the node is not active'
            return response
        self._parts.controller.enable(request.data)
        response.success = True
        response.message = 'enabled' if request.data else 'stopped and holding'
        return response

    def _on_parameters_changed(self, before: NodeParameters, after: NodeParameters) -> None:
        if self._parts is None:
            return
        if self._active and after.dry_run and not before.dry_run:
            self._publish_stop()
        reconfigure(self._parts, after)

    def _on_tick(self) -> None:
        self._tick(self.get_clock().now())

    def _tick(self, now: Time) -> None:
        """One control period; the command comes first."""
        parts = self._parts
        if not self._active or parts is None:
            return
        self._supervisor.watch_thread()
        command = parts.controller.command(now.nanoseconds, time.monotonic_ns())
        if command.action is not None and not self._live_parameters.current.dry_run:
            self._send(command)
        jitter_s = self._ticks.tick(self._tick_clock.now().nanoseconds)
        self._log.state(command)
        if self._reach is not None:
            self._reach.tick(self._tick_clock.now().nanoseconds, command)
        self._supervisor.ticked(command.state)
        self._status.tick(now, command, jitter_s)

    def _send(self, command: Command) -> None:
        assert command.action is not None
        assert self._topics is not None
        with self._phases('publish', command.observation_stamp_ns):
            stamp = self.get_clock().now().to_msg()
            self._topics.command.publish(self._encoder.encode(command.action, stamp))

    # The planning thread.

    def _replan(self) -> None:
        """Plan once for the activation that is active now."""
        if self._active:
            self._replanner.replan()


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the stop is published before it ends."""
    # A busy planning thread must hand the interpreter over to the command timer at once.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    allocate_from_one_heap()
    keep_freed_memory()
    return leave(spin('planner', arguments, PlannerNode, PlannerNode.end))


if __name__ == '__main__':
    sys.exit(main())
