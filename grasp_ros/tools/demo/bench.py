"""The bench that drives a planner's process over ROS, for the demo, the soak, faults and tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue, SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool

from grasp_ros.control.types import State
from grasp_ros.msg import ActionPlan, PlanStatus

SERVICES: Mapping[type[Any], str] = {
    ChangeState: 'change_state',
    GetState: 'get_state',
    GetParameters: 'get_parameters',
    SetParameters: 'set_parameters',
    SetBool: 'enable',
}
START_S = 90.0
CONFIGURE_S = 90.0
ANSWER_S = 30.0
ASK_AGAIN_S = 3.0
SLICE_S = 0.05
Message = TypeVar('Message')


class BenchError(RuntimeError):
    """An event that the bench waits for does not happen; the message is for people."""


@dataclass(frozen=True)
class Arrival(Generic[Message]):
    """A message and when it came, on the monotonic clock."""

    time_s: float
    message: Message


@contextmanager
def ros_node(name: str) -> Iterator[tuple[Node, Executor]]:
    """A node and its executor in a ROS context of their own, which leaves signals alone.

    Start processes before: one with the threads of ROS should not fork any more.
    """
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor(context=context)
    node = Node(name, context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown(context=context)


class PlannerBench:
    """Lifecycle, parameters and topics of the node `planner` in the namespace of a node.

    Attributes:
        node: talks to the planner.
        clients: of the planner's services, by their types.
        statuses: arrived since `clear`, oldest first; also `plans` and `commands`, where watched.
    """

    def __init__(
        self, node: Node, executor: Executor, check: Callable[[], None] = lambda: None
    ) -> None:
        """Subscribe to the status; `meet` the planner before it is asked for anything.

        Args:
            node: in the planner's namespace; it belongs to `executor`.
            executor: spun while the bench waits.
            check: called again and again while waiting; raises where there is nothing to wait for.
        """
        self.node, self._executor, self._check = node, executor, check
        self.clients: dict[type[Any], Any] = {}
        self._original: dict[str, ParameterValue] = {}
        self.statuses: list[Arrival[PlanStatus]] = []
        self.plans: list[Arrival[ActionPlan]] = []
        self.commands: list[Arrival[Any]] = []
        # Deep queues: unlike a robot, who judges must not miss a message.
        self._qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
        self._command: Any = None
        node.create_subscription(PlanStatus, 'planner/status', self.on_status, self._qos)

    # What comes.

    def watch_plans(self) -> None:
        """Keep plans, too."""
        self.node.create_subscription(
            ActionPlan,
            'planner/plan',
            lambda message: self.plans.append(Arrival(time.monotonic(), message)),
            self._qos,
        )

    def listen(self, message_type: type[Any] | None = TwistStamped) -> None:
        """Keep commands of this type from now on, of None none."""
        if self._command is not None:
            self.node.destroy_subscription(self._command)
        self._command = message_type and self.node.create_subscription(
            message_type, 'command', self.on_command, self._qos
        )

    def on_status(self, message: PlanStatus) -> None:
        """Keep a status."""
        self.statuses.append(Arrival(time.monotonic(), message))

    def on_command(self, message: Any, information: dict[str, Any]) -> None:
        """Keep a command; `information` is of DDS."""
        self.commands.append(Arrival(time.monotonic(), message))

    def clear(self) -> None:
        """Forget what came so far."""
        for kept in (self.statuses, self.plans, self.commands):
            kept.clear()

    @property
    def status(self) -> PlanStatus | None:
        """The newest status."""
        return self.statuses[-1].message if self.statuses else None

    def status_since(self, time_s: float, state: State) -> Arrival[PlanStatus] | None:
        """The first status with this state that came at that time (monotonic) or later."""
        for arrival in self.statuses:
            if arrival.time_s >= time_s and arrival.message.state == state:
                return arrival
        return None

    def commands_since(self, time_s: float) -> list[Arrival[Any]]:
        """The commands that came at that time (monotonic) or later."""
        return [arrival for arrival in self.commands if arrival.time_s >= time_s]

    # Waiting.

    def spin_until(self, predicate: Callable[[], Any], timeout_s: float) -> bool:
        """Spin until `predicate()` is true; False if that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            self._check()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(SLICE_S, left_s))
        return True

    def spin_for(self, seconds: float) -> None:
        """Let time pass."""
        self.spin_until(lambda: False, seconds)

    def wait(self, predicate: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Spin until `predicate()` is true.

        Raises:
            BenchError: saying that `what` within the time.
        """
        if not self.spin_until(predicate, timeout_s):
            told = ''
            if self.statuses:
                status = self.statuses[-1].message
                told = f'; last status: {State(status.state).name} {status.reason}'
            raise BenchError(f'{what} within {timeout_s:g} s{told}')

    # Services.

    def meet(self) -> None:
        """Wait until a planner that has just started answers; old connections are dropped.

        Raises:
            BenchError: if it does not.
        """
        for client in self.clients.values():
            self.node.destroy_client(client)
        self.clients = {
            kind: self.node.create_client(kind, f'planner/{name}')
            for kind, name in SERVICES.items()
        }
        self._original.clear()
        client = self.clients[GetState]
        self.wait(client.service_is_ready, START_S, 'the planner did not appear')
        answered: list[Any] = []
        asked_s = -math.inf

        # A first answer may be lost while both sides still discover each other.
        def met() -> bool:
            nonlocal asked_s
            if time.monotonic() - asked_s > ASK_AGAIN_S:
                asked_s = time.monotonic()
                client.call_async(GetState.Request()).add_done_callback(answered.append)
            return bool(answered)

        self.wait(met, START_S, 'the planner does not answer')

    def call(self, client: Any, request: Any, timeout_s: float = ANSWER_S) -> Any:
        """Ask a service and wait for its answer.

        Args:
            client: of the service, or its type, for one of the planner's.
            request: of its type.
            timeout_s: for the service to appear, and to answer.

        Raises:
            BenchError: if it does not.
        """
        client = self.clients.get(client, client)
        name = client.srv_name
        self.wait(client.service_is_ready, timeout_s, f'no service {name}')
        future = client.call_async(request)
        self.wait(future.done, timeout_s, f'no answer from {name}')
        return future.result()

    @property
    def life(self) -> str:
        """The lifecycle state's label."""
        return str(self.call(GetState, GetState.Request()).current_state.label)

    def change(self, transition: int) -> bool:
        """Ask for a lifecycle transition; False where the node refuses."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, request, CONFIGURE_S).success)

    def configure(self) -> bool:
        """Load and warm up."""
        return self.change(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> bool:
        """Begin with nothing known."""
        return self.change(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        """Stop and fall silent."""
        return self.change(Transition.TRANSITION_DEACTIVATE)

    def cleanup(self) -> bool:
        """Let go of the model."""
        return self.change(Transition.TRANSITION_CLEANUP)

    def unconfigure(self) -> bool:
        """From any living state to unconfigured."""
        life = self.life
        if life == 'active' and not self.deactivate():
            return False
        return life not in ('active', 'inactive') or self.cleanup()

    def get(self, names: Sequence[str]) -> list[Any]:
        """Values of parameters."""
        response = self.call(GetParameters, GetParameters.Request(names=list(names)))
        return [parameter_value_to_python(value) for value in response.values]

    def set(self, values: Mapping[str, Any]) -> list[SetParametersResult]:
        """Set parameters, each by itself; the answers in the same order."""
        messages = [
            ParameterMessage(name=name, value=value)
            if isinstance(value, ParameterValue)
            else Parameter(name, value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        return list(self.call(SetParameters, SetParameters.Request(parameters=messages)).results)

    def set_only(self, values: Mapping[str, Any]) -> list[str]:
        """Set these and give all others that were set before their original values back.

        Returns:
            Why some were refused; empty where all is well.
        """
        new = [name for name in values if name not in self._original]
        if new:
            response = self.call(GetParameters, GetParameters.Request(names=new))
            self._original.update(zip(new, response.values, strict=True))
        results = self.set({**self._original, **values})
        return [result.reason for result in results if not result.successful]

    def enable(self, enabled: bool) -> SetBool.Response:
        """Call `~/enable`; it is there while the node is configured."""
        response: SetBool.Response = self.call(SetBool, SetBool.Request(data=enabled))
        return response


def speed(message: TwistStamped) -> float:
    """Speed that is commanded, m/s."""
    return float(np.hypot(message.twist.linear.x, message.twist.linear.y))
