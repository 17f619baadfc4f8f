"""The action server `~/reach_goal`: one goal at a time, judged at each control tick.

Nothing waits here: a goal is accepted in one callback, goes on in the ticks of the node, and is
answered by the tick, the topic or the transition that ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rclpy.action import CancelResponse, GoalResponse
from rclpy.lifecycle import LifecycleNode

from grasp_ros.action import ReachGoal
from grasp_ros.control.controller import Controller
from grasp_ros.control.progress import GoalRun, Outcome
from grasp_ros.control.types import Command
from grasp_ros.models.sensors import RgbImage
from grasp_ros.node.goals import GoalIntake
from grasp_ros.node.inputs import check_action_goal
from grasp_ros.ros.rclpy_private import TickedActionServer

FEEDBACK_S = 0.2
FLUSHES = 5
"""Rounds of the executor: the goal's task, what follows from it, and what came between."""


class ReachGoalServer:
    """Accepts, judges and answers goals; everything on the executor's thread."""

    def __init__(
        self,
        node: LifecycleNode,
        controller: Controller,
        goals: GoalIntake,
        unit: str,
        hold_s: float,
        is_active: Callable[[], bool],
        on_goal: Callable[[], None],
    ) -> None:
        """Offer the action.

        Args:
            node: of the server.
            controller: tells how far the goal is.
            goals: decodes goals and hands them to the controller.
            unit: of the goal distance.
            hold_s: how long a goal must be held to be reached, seconds.
            is_active: whether goals can be accepted.
            on_goal: called when the controller has a new goal.
        """
        self._node = node
        self._controller = controller
        self._goals = goals
        self._unit = unit
        self._hold_s = hold_s
        self._is_active = is_active
        self._on_goal = on_goal
        self._handle: Any = None
        self._run = GoalRun(0.0, hold_s)
        self._ticked_ns: int | None = None
        self._reported_s = -math.inf
        self._server = TickedActionServer(
            node,
            ReachGoal,
            '~/reach_goal',
            execute_callback=self._never,
            goal_callback=self._judge,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,
        )

    def destroy(self) -> None:
        """Take the action back."""
        self._server.destroy()

    def tick(self, now_ns: int, command: Command) -> None:
        """Report on the goal, or end it.

        Args:
            now_ns: of the clock that ticks follow.
            command: of this tick.
        """
        handle = self._handle
        if handle is None:
            return
        if handle.is_cancel_requested:
            self._end(Outcome.CANCELLED, 'cancelled by the client')
            return
        before_ns, self._ticked_ns = self._ticked_ns, now_ns
        seconds = 0.0 if before_ns is None else max(0.0, (now_ns - before_ns) / 1e9)
        run = self._run
        outcome = run.advance(seconds, command.state, self._controller.goal_distance)
        if outcome is Outcome.TIMED_OUT:
            # The goal of a client that waits no longer must not move the robot.
            self._goals.clear()
            self._end(outcome, f'not reached within {handle.request.timeout:g} s')
        elif outcome is not None:
            self._end(outcome, command.reason)
        elif run.elapsed_s - self._reported_s >= FEEDBACK_S:
            self._reported_s = run.elapsed_s
            handle.publish_feedback(
                ReachGoal.Feedback(
                    goal_distance=run.distance,
                    goal_distance_unit=self._unit,
                    progress=run.progress,
                    elapsed=run.elapsed_s,
                    state=int(command.state),
                )
            )

    def abort(self, reason: str) -> None:
        """End the present goal, if there is one, because something else happened."""
        if self._handle is not None:
            self._end(Outcome.ABORTED, reason)

    def flush(self) -> None:
        """Let the executor send the answers that are due, when nobody spins it any more."""
        if self._node.executor is not None:
            for _ in range(FLUSHES):
                self._node.executor.spin_once(timeout_sec=0.0)

    @staticmethod
    def _never(goal_handle: Any) -> ReachGoal.Result:
        raise AssertionError('goals are executed by ticks')

    def _judge(self, goal: ReachGoal.Goal) -> GoalResponse:
        fault = self._fault(goal)
        if fault:
            self._node.get_logger().warning(f'goal of ~/reach_goal refused: {fault}')
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _fault(self, goal: ReachGoal.Goal) -> str:
        """Why a goal cannot be accepted; empty where it can."""
        if not self._is_active():
            return 'the node is not active'
        try:
            check_action_goal(goal)
        except ValueError as error:
            return str(error)
        return ''

    def _accept(self, goal_handle: Any) -> None:
        self.abort('replaced by another goal of the action')
        request = goal_handle.request
        self._handle = goal_handle
        self._run = GoalRun(request.timeout, self._hold_s)
        self._ticked_ns, self._reported_s = None, -math.inf
        goal_handle.execute()
        self._goals.clear()
        self._goals.take(
            request.goal_image,
            self._decoded,
            lambda reason: self._undecodable(goal_handle, reason),
            tolerance=request.tolerance or None,
            restart=True,
        )

    def _decoded(self, image: RgbImage) -> None:
        height, width = image.shape[:2]
        self._node.get_logger().info(f'new goal of ~/reach_goal, {width} x {height}')
        self._on_goal()

    def _undecodable(self, goal_handle: Any, reason: str) -> None:
        if goal_handle is self._handle:
            self._goals.clear()
            self._end(Outcome.ABORTED, f'goal_image: {reason}')

    def _cancel(self, goal_handle: Any) -> CancelResponse:
        if self._handle is None or goal_handle != self._handle:
            return CancelResponse.REJECT
        self._goals.clear()
        return CancelResponse.ACCEPT

    def _end(self, outcome: Outcome, reason: str) -> None:
        handle, run, self._handle = self._handle, self._run, None
        if outcome is Outcome.REACHED:
            handle.succeed()
        elif outcome is Outcome.CANCELLED:
            handle.canceled()
        else:
            handle.abort()
        self._node.get_logger().info(f'goal of ~/reach_goal {outcome.name}: {reason}')
        self._server.answer(
            handle,
            ReachGoal.Result(
                outcome=int(outcome),
                reason=reason,
                goal_distance=run.distance,
                elapsed=run.elapsed_s,
            ),
        )
