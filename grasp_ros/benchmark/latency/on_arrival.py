"""Control without any compensation of planning time, as plain nodes do it, to compare with."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.controller import Controller
from grasp_ros.control.observation import ImageSource
from grasp_ros.control.plan_report import PlanReport
from grasp_ros.control.types import Command, State

DRIVING = (State.RUNNING, State.PLAN_EXPIRED)


class OnArrival:
    """Plans from the newest picture as it is, and executes each plan from its first command on.

    For velocities, and models with one frame of history: the commands of the past stay out of it.
    Everything else is the controller's, so that nothing but the times differs.
    """

    def __init__(self, controller: Controller) -> None:
        """Control with `controller`, whose plans must start from the picture: no delay assumed."""
        self._controller = controller
        self._commands: deque[NDArray[np.float64]] = deque()
        self._newest_ns = 0

    @property
    def planning_delay(self) -> float:
        """See Controller."""
        return self._controller.planning_delay

    def reset(self) -> None:
        """See Controller."""
        self._controller.reset()
        self._commands.clear()

    def set_goal(self, image: NDArray[np.uint8]) -> bool:
        """See Controller."""
        return self._controller.set_goal(image)

    def observe(self, image: ImageSource, stamp_ns: int) -> str | None:
        """See Controller."""
        self._newest_ns = stamp_ns
        return self._controller.observe(image, stamp_ns)

    def plan(self, now_ns: int) -> PlanReport:
        """See Controller; the plan is in force when this returns."""
        report = self._controller.plan(self._newest_ns)
        if report.timed is not None and report.accepted:
            self._commands = deque(report.timed.commands)
        return report

    def planned(self, finished_ns: int) -> None:
        """See Controller; nothing is estimated here."""

    def command(self, now_ns: int) -> Command:
        """The next command of the plan, or the controller's stop."""
        command = self._controller.command(now_ns)
        if command.state not in DRIVING:
            return command
        action = self._commands.popleft() if self._commands else np.zeros(2)
        return replace(command, action=action)
