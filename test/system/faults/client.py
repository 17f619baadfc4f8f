"""The planner's services: its lifecycle, its parameters, its switch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from std_srvs.srv import SetBool

Wait = Callable[[Callable[[], Any], float, str], None]
ANSWER_S = 10.0
CONFIGURE_S = 90.0
START_S = 90.0
ASK_AGAIN_S = 3.0


class PlannerClient:
    """Calls one planner's services and waits for the answers."""

    def __init__(self, node: Node, wait: Wait) -> None:
        """Make the clients.

        Args:
            node: that calls.
            wait: spins until a predicate is true; arguments predicate, timeout in seconds, and
                what did not happen, for the error.
        """
        self._node = node
        self._wait = wait
        self._clients: dict[type[Any], Any] = {}
        self._original: dict[str, Any] = {}
        self._make()

    def _make(self) -> None:
        self._clients = {
            kind: self._node.create_client(kind, f'planner/{name}')
            for kind, name in (
                (ChangeState, 'change_state'),
                (GetState, 'get_state'),
                (GetParameters, 'get_parameters'),
                (SetParameters, 'set_parameters'),
                (SetBool, 'enable'),
            )
        }

    def meet(self) -> None:
        """Wait until a planner that has just started answers; old connections are dropped."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._make()
        self._original.clear()
        client = self._clients[GetState]
        self._wait(client.service_is_ready, START_S, 'the planner did not appear')
        answered: list[Any] = []
        future: Any = None
        asked_s = 0.0

        # A first answer may be lost while both sides still discover each other.
        def met() -> bool:
            nonlocal future, asked_s
            now_s = time.monotonic()
            if future is None or now_s - asked_s > ASK_AGAIN_S:
                future, asked_s = client.call_async(GetState.Request()), now_s
                future.add_done_callback(answered.append)
            return bool(answered)

        self._wait(met, START_S, 'the planner does not answer')

    @property
    def life(self) -> str:
        """The lifecycle state's label."""
        return str(self._call(GetState, GetState.Request()).current_state.label)

    def configure(self) -> bool:
        """Load and warm up; False where the node refuses."""
        return self._change(Transition.TRANSITION_CONFIGURE, CONFIGURE_S)

    def activate(self) -> bool:
        """Begin with nothing known."""
        return self._change(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        """Stop and fall silent, if it is active."""
        return self.life != 'active' or self._change(Transition.TRANSITION_DEACTIVATE)

    def unconfigure(self) -> bool:
        """From any living state to unconfigured."""
        if not self.deactivate():
            return False
        return self.life != 'inactive' or self._change(Transition.TRANSITION_CLEANUP)

    def set(self, values: Mapping[str, Any]) -> list[SetParametersResult]:
        """Set parameters, each by itself; the answers in the same order."""
        messages = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        return list(self._call(SetParameters, SetParameters.Request(parameters=messages)).results)

    def set_only(self, values: Mapping[str, Any]) -> list[str]:
        """Set these and give all others that were set before their original values back.

        Returns:
            Why some were refused; empty where all is well.
        """
        new = [name for name in values if name not in self._original]
        if new:
            answer = self._call(GetParameters, GetParameters.Request(names=new))
            for name, value in zip(new, answer.values, strict=True):
                self._original[name] = parameter_value_to_python(value)
        results = self.set({**self._original, **values})
        return [result.reason for result in results if not result.successful]

    def enable(self, enabled: bool) -> bool:
        """Call `~/enable`."""
        return bool(self._call(SetBool, SetBool.Request(data=enabled)).success)

    def _change(self, transition: int, timeout_s: float = ANSWER_S) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._call(ChangeState, request, timeout_s).success)

    def _call(self, kind: type[Any], request: Any, timeout_s: float = ANSWER_S) -> Any:
        client = self._clients[kind]
        name = client.srv_name
        self._wait(client.service_is_ready, timeout_s, f'no service {name}')
        future = client.call_async(request)
        self._wait(future.done, timeout_s, f'no answer from {name}')
        return future.result()
