"""The planning thread's part of an activation: plans, and leaves the result for a tick to publish.

It touches no publisher: those may be destroyed meanwhile.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import State
from grasp_ros.messages.status import film_strip, plan_fields
from grasp_ros.msg import ActionPlan
from grasp_ros.node.live_parameters import LiveParameters
from grasp_ros.node.watchdog import Watchdog
from grasp_ros.ros.ros_messages import plan_message


@dataclass(frozen=True, eq=False)
class Replanned:
    """What one replan left for the executor's thread.

    Attributes:
        report: of the controller.
        plans: made since activation, this one included.
        message: the plan, or None where none was made.
        strip: what the model imagines (h, w, 3) uint8 RGB, or None where nobody watches.
    """

    report: PlanReport
    plans: int
    message: ActionPlan | None
    strip: NDArray[np.uint8] | None


class Replanner:
    """Plans for one activation.

    Attributes:
        newest: what the last replan left, or None before the first.
        checked: report of the last replan that checked an image, or None before the first.
        watched: whether somebody looks at what the model imagines; set by the executor's thread.
    """

    def __init__(
        self,
        stack: PlannerStack,
        watchdog: Watchdog,
        parameters: LiveParameters,
        now_ns: Callable[[], int],
        warn: Callable[[str, str], None],
    ) -> None:
        """Begin without plans.

        Args:
            stack: of the configured node.
            watchdog: of the activation; is told of each replan.
            parameters: of the node.
            now_ns: gives the present time of the images' stamps.
            warn: logs a text under a key, not too often.
        """
        self._stack, self._watchdog = stack, watchdog
        self._parameters, self._now_ns, self._warn = parameters, now_ns, warn
        self.newest: Replanned | None = None
        self.checked: PlanReport | None = None
        self.watched = False

    def replan(self) -> None:
        """Plan once; whatever goes wrong is logged, and the thread lives on."""
        try:
            self._plan_once()
        except Exception:
            self._warn('replan', f'replanning failed:\n{traceback.format_exc()}')

    def _plan_once(self) -> None:
        stack = self._stack
        report = stack.controller.plan(self._now_ns(), self._now_ns)
        self._watchdog.planned(report)
        if report.image_check is not None:
            self.checked = report
        if not report.counts:
            return
        if report.state is State.STALE_IMAGE:
            self._warn('image', f'image cannot be used: {report.reason}')
        plans = self.newest.plans if self.newest else 0
        message = strip = None
        if report.plan is not None:
            plans += 1
            message = plan_message(
                report,
                plan_fields(report, stack.manifest, stack.planner),
                self._parameters.current.command.frame_id,
            )
            if self.watched:
                strip = film_strip(report, stack.model, stack.manifest)
        self.newest = Replanned(report, plans, message, strip)
