"""Send a goal image through the action and wait for its outcome: `goal --wait`."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from grasp_ros.action import ReachGoal

NAMES = {
    ReachGoal.Result.REACHED: 'reached',
    ReachGoal.Result.STALLED: 'stalled',
    ReachGoal.Result.TIMED_OUT: 'timed out',
    ReachGoal.Result.CANCELLED: 'cancelled',
    ReachGoal.Result.ABORTED: 'aborted',
}
FIRST_FAILURE = 3
"""Exit status of a stalled goal; those of the other failures follow."""


class ActionError(Exception):
    """The goal was not accepted, or nobody answers; the message says what to check."""


def reach(
    node: Node,
    executor: SingleThreadedExecutor,
    goal: ReachGoal.Goal,
    action: str,
    patience_s: float,
    interruption: Interruption,
) -> int:
    """Send `goal`, show its progress, say how it ended.

    Args:
        node: of the client.
        executor: spins the node.
        goal: to send.
        action: name of the action.
        patience_s: how long to wait for an answer of the server.
        interruption: Ctrl-C cancels the goal; a second one leaves at once.

    Returns:
        The exit status: 0 reached, 3 stalled, 4 timed out, 5 cancelled, 6 aborted.

    Raises:
        ActionError: if the goal is refused or nobody answers.
        KeyboardInterrupt: on Ctrl-C, after the goal was cancelled.
    """
    client: Any = ActionClient(node, ReachGoal, action)
    if not spin_until(executor, client.server_is_ready, patience_s, interruption):
        raise ActionError(
            f'no node offers the action {action} within {patience_s:g} s: check that the planner '
            'is configured, its name and namespace (--action), and ROS_DOMAIN_ID'
        )
    sent = client.send_goal_async(goal, feedback_callback=_show)
    if not spin_until(executor, sent.done, patience_s, interruption):
        raise ActionError(f'{action} does not answer; check that the planner still runs')
    handle = sent.result()
    if not handle.accepted:
        raise ActionError(f"{action} refused the goal: the planner's log says why")
    answer = handle.get_result_async()
    try:
        spin_until(executor, answer.done, math.inf, interruption)
    except KeyboardInterrupt:
        interruption.forget()
        handle.cancel_goal_async()
        if spin_until(executor, answer.done, patience_s, interruption):
            _say(answer.result().result)
        raise
    result = answer.result().result
    _say(result)
    return 0 if result.outcome == result.REACHED else FIRST_FAILURE - 1 + int(result.outcome)


def goal_message(image: Image, tolerance: float, timeout_s: float) -> ReachGoal.Goal:
    """A goal; its numbers as in the action."""
    return ReachGoal.Goal(goal_image=image, tolerance=tolerance, timeout=timeout_s)


def _show(message: Any) -> None:
    feedback = message.feedback
    print(
        f'{feedback.elapsed:6.1f} s  {feedback.progress:4.0%}  goal distance '
        f'{feedback.goal_distance:.2f} {feedback.goal_distance_unit}',
        flush=True,
    )


def _say(result: ReachGoal.Result) -> None:
    print(
        f'{NAMES[result.outcome]} after {result.elapsed:.1f} s at goal distance '
        f'{result.goal_distance:.2f}: {result.reason}',
        flush=True,
    )


SLICE_S = 0.05
"""Longest wait in one go, in seconds: Ctrl-C is noticed after it."""


class Interruption:
    """SIGINT as a flag: an exception raised in the middle of rclpy may be swallowed there."""

    def __init__(self) -> None:
        """Take over the signal."""
        self._seen = False
        self._before = signal.signal(signal.SIGINT, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._seen = True

    def check(self) -> None:
        """Raise KeyboardInterrupt once the signal has come."""
        if self._seen:
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Wait for the next signal."""
        self._seen = False

    def release(self) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGINT, self._before)


def spin_until(
    executor: SingleThreadedExecutor,
    done: Callable[[], bool],
    timeout_s: float,
    interruption: Interruption,
) -> bool:
    """Spin until `done()`; False if that takes longer than `timeout_s` seconds.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        interruption.check()
        if time.monotonic() > deadline:
            return False
        executor.spin_once(timeout_sec=SLICE_S)
    return True
