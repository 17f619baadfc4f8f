"""What a control tick publishes beside the command: status, and each new plan once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.time import Time
from std_msgs.msg import Header

from grasp_ros.control.assembly import Assembly
from grasp_ros.control.types import Command
from grasp_ros.messages.status import Statistics, status_fields
from grasp_ros.msg import PlanStatus
from grasp_ros.node.diagnostics import Diagnostics
from grasp_ros.node.interfaces import Topics
from grasp_ros.node.replanner import Replanned, Replanner
from grasp_ros.node.ticks import TickMonitor
from grasp_ros.node.watchdog import Supervisor
from grasp_ros.ros.ros_messages import image_message


class StatusPublisher:
    """Gathers, on the executor's thread, what the parts of one activation know."""

    def __init__(
        self,
        parts: Assembly,
        topics: Topics,
        replanner: Replanner,
        supervisor: Supervisor,
        ticks: TickMonitor,
        diagnostics: Diagnostics,
        values: Callable[[], dict[str, Any]],
    ) -> None:
        """Begin an activation.

        Args:
            parts: of the configured node.
            topics: to publish on.
            replanner: its results are published.
            supervisor: counts.
            ticks: counts.
            diagnostics: take each status.
            values: gives the present parameters.
        """
        self._parts, self._topics, self._replanner = parts, topics, replanner
        self._supervisor, self._ticks = supervisor, ticks
        self._diagnostics, self._values = diagnostics, values
        self._shown: Replanned | None = None

    def tick(self, now: Time, command: Command, jitter_s: float) -> None:
        """Publish after the command of a tick that was `jitter_s` seconds off its schedule."""
        topics, newest = self._topics, self._replanner.newest
        status = self._status(now, command, newest, jitter_s)
        topics.status.publish(status)
        self._diagnostics.tick(status)
        self._replanner.watched = topics.imagined.get_subscription_count() > 0
        if newest is not None and newest is not self._shown:
            self._shown = newest
            if newest.message is not None:
                topics.plan.publish(newest.message)
            if newest.strip is not None:
                topics.imagined.publish(image_message(newest.strip, now.to_msg(), 'camera'))

    def _status(
        self, now: Time, command: Command, newest: Replanned | None, jitter_s: float
    ) -> PlanStatus:
        parts, values = self._parts, self._values()
        controller = parts.controller
        statistics = Statistics(
            image_age_s=controller.image_age(now.nanoseconds),
            plan_age_s=controller.plan_age(now.nanoseconds),
            plans=newest.plans if newest else 0,
            missed=self._ticks.missed,
            clamps=controller.clamps,
            jitter_s=jitter_s,
            planning_delay_s=controller.planning_delay,
            plans_dropped=controller.plans_dropped,
            images_refused=self._supervisor.images_refused,
            solves_late=self._supervisor.late.count,
            novelty=controller.verdict.novelty,
            prediction_error=controller.prediction_error,
        )
        return PlanStatus(
            header=Header(stamp=now.to_msg(), frame_id=values['command.frame_id']),
            **status_fields(
                command,
                newest.report if newest else None,
                statistics,
                parts.planner,
                values,
                parts.model.device,
            ),
        )
