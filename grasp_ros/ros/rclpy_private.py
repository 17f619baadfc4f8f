"""Private members of rclpy, for which it has no public ones: all uses of them are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node


def parameter_overrides(node: Node) -> dict[str, Any]:
    """Values by name that the user gave a node at start, whether it declares them or not."""
    return {name: given.value for name, given in node._parameter_overrides.items()}


def lifecycle_state(node: LifecycleNode) -> str:
    """Label of the state that a node is in, as 'active'."""
    return str(node._state_machine.current_state[1])


class TickedActionServer(ActionServer):
    """An action server whose goals are executed by the node's ticks, not by a task."""

    def notify_execute(
        self, goal_handle: Any, execute_callback: Callable[[Any], Any] | None
    ) -> None:
        """Start no task when a goal begins, only when it has its result."""
        if execute_callback is not None:
            super().notify_execute(goal_handle, execute_callback)

    def answer(self, goal_handle: Any, result: Any) -> None:
        """Send the result of a goal that has ended, once the executor gets to it."""
        self.notify_execute(goal_handle, lambda _: result)
