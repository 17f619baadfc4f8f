"""The lifecycle node `planner`: images in, commands out, on time or stopped."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from grasp_ros.control.factory import PlannerStack, build_stack, reconfigure
from grasp_ros.messages.commands import command_layout
from grasp_ros.messages.proprioception import proprioception_layout
from grasp_ros.models.checkpoint import CheckpointError
from grasp_ros.node.activation import ACKNOWLEDGE_S, Activation, Telemetry
from grasp_ros.node.configuration import Configuration, FileChangeMonitor, model_files
from grasp_ros.node.diagnostics import Diagnostics
from grasp_ros.node.goals import GoalIntake
from grasp_ros.node.interfaces import make_topics
from grasp_ros.node.latency_trace import PhaseRecorder
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.planning_thread import PlanningThread, leave
from grasp_ros.node.reach_goal import ReachGoalServer
from grasp_ros.node.status_publisher import StateLog
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.planning.process_tuning import (
    allocate_from_one_heap,
    freeze,
    keep_freed_memory,
    unfreeze,
)
from grasp_ros.ros.rclpy_private import lifecycle_state
from grasp_ros.ros.ros_messages import MESSAGE_TYPES, make_message
from grasp_ros.ros.spin import SPIN_S, spin

SWITCH_INTERVAL_S = 0.0001


class PlannerNode(LifecycleNode):
    """Lifecycle, parameters and callbacks around the controller.

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
        phases = PhaseRecorder()
        self._telemetry = Telemetry(phases, Diagnostics(self, phases), StateLog(self.get_logger()))
        self._configuration: Configuration | None = None
        self._activation: Activation | None = None

    # Lifecycle. rclpy swallows exceptions in transitions, so each is caught and logged here.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validate, load, warm up; FAILURE with a reason in the log."""
        try:
            params = self._live_parameters.read()
            self.get_logger().info(f'loading model {params.model!r} and warming up ...')
            files = model_files(params.model)
            stack = self._load(params)
            if stack is None:
                self.get_logger().info('interrupted while loading the model')
                return TransitionCallbackReturn.FAILURE
            self._configuration = self._configure(params, stack, files)
        except (ParameterError, CheckpointError, ValueError) as error:
            self.get_logger().error(f'cannot configure: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'cannot configure:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.FAILURE
        self._live_parameters.frozen = True
        freeze()
        times = ', '.join(f'{1e3 * seconds:.0f}' for seconds in stack.warm_up_s)
        self.get_logger().info(
            f'configured: {params.planner.name} on {stack.model.device} '
            f'({stack.planner.execution}), warm-up solves {times} ms'
        )
        if stack.planner.execution.failure:
            self.get_logger().warning(
                f'the planner is slower than it could be: {stack.planner.execution}'
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start with nothing known; the command timer begins to tick."""
        assert self._configuration is not None
        result = super().on_activate(state)
        self._activation = Activation(
            self,
            self._configuration,
            self._live_parameters,
            self._thread,
            self._telemetry,
            self._request_replan,
        )
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
        if self._configuration is not None:
            self._configuration.reach.flush()
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
        loading = self._thread.call(lambda: build_stack(params, self._telemetry.phases))
        while not self._ended.is_set():
            if wait([loading], timeout=SPIN_S).done:
                return loading.result()
        return None

    def _configure(
        self, params: NodeParameters, stack: PlannerStack, files: FileChangeMonitor
    ) -> Configuration:
        """Offer the interfaces that the parameters and the model ask for.

        Raises:
            ValueError: if parameters and model do not fit together; nothing is offered then.
        """
        commands = command_layout(params.command, stack.manifest, make_message)
        inputs = stack.controller.inputs
        proprioception = proprioception_layout(
            params.proprioception.type, params.proprioception.fields, inputs
        )
        goals = GoalIntake(stack.controller, self._thread.call, self._post)
        topics = make_topics(
            self,
            params,
            MESSAGE_TYPES[commands.command_type],
            inputs,
            self._on_image,
            self._on_proprioception,
            self._on_goal,
            self._on_enable,
        )
        reach = ReachGoalServer(
            self,
            stack.controller,
            goals,
            stack.planner.distance.unit,
            params.goal.hold_time,
            is_active=lambda: self._activation is not None,
            on_goal=self._request_replan,
        )
        return Configuration(stack, files, commands, proprioception, topics, goals, reach)

    def _release(self) -> None:
        self._live_parameters.frozen = False
        if self._configuration is not None:
            self._configuration.destroy(self)
        self._configuration = None
        unfreeze()

    def _halt(self) -> None:
        """End the activation; once, however often it is called."""
        activation, self._activation = self._activation, None
        if activation is not None:
            activation.end()

    # Callbacks of the executor thread.

    def _on_image(self, message: Image | CompressedImage, camera: str) -> None:
        if self._activation is not None:
            self._activation.take_image(message, camera)

    def _on_proprioception(self, message: Any) -> None:
        if self._activation is not None:
            self._activation.take_proprioception(message)

    def _on_goal(self, message: Image | CompressedImage) -> None:
        if self._activation is not None:
            self._activation.take_goal(message)

    def _on_enable(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if self._configuration is None or self._activation is None:
            response.success, response.message = False, 'the node is not active'
            return response
        self._configuration.stack.controller.enable(request.data)
        response.success = True
        response.message = 'enabled' if request.data else 'stopped and holding'
        return response

    def _on_parameters_changed(self, before: NodeParameters, after: NodeParameters) -> None:
        if self._configuration is None:
            return
        if self._activation is not None and after.dry_run and not before.dry_run:
            self._activation.publish_stop()
        reconfigure(self._configuration.stack, after)

    def _post(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Call `job` on the executor's thread; from any thread."""
        if self.executor is not None:
            self.executor.create_task(job, *arguments)

    def _request_replan(self) -> None:
        """Have the planning thread plan soon; from any thread."""
        self._thread.trigger(self._replan)

    # The planning thread.

    def _replan(self) -> None:
        """Plan once for the activation that is active now."""
        activation = self._activation
        if activation is not None:
            activation.replan()


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the stop is published before it ends."""
    # A busy planning thread must hand the interpreter over to the command timer at once.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    allocate_from_one_heap()
    keep_freed_memory()
    return leave(spin('planner', arguments, PlannerNode, PlannerNode.end))


if __name__ == '__main__':
    sys.exit(main())
