"""The one thread that loads, warms up and plans; CUDA graphs must live and die on one thread."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.plan_report import PlanReport
from grasp_ros.control.types import State
from grasp_ros.messages.status import film_strip, plan_fields
from grasp_ros.msg import ActionPlan
from grasp_ros.node.watchdog import Watchdog
from grasp_ros.ros.ros_messages import plan_message

Result = TypeVar('Result')
NAME = 'planning'


class PlanningThread:
    """Runs jobs one after another; a daemon, so that a hung solve cannot keep the process."""

    def __init__(self) -> None:
        """Start the thread."""
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = threading.Event()
        self._began_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Run `job` after those before it; its result or exception is in the future."""
        future: Future[Result] = Future()

        def work() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        self._jobs.put(work)
        return future

    def trigger(self, job: Callable[[], Any]) -> None:
        """Run `job` soon; a trigger while another waits to start is dropped."""
        if self._waiting.is_set():
            return
        self._waiting.set()

        def work() -> None:
            self._waiting.clear()
            job()

        self._jobs.put(work)

    @property
    def busy_s(self) -> float:
        """Seconds since the present job began; 0 without one."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def stop(self, timeout_s: float) -> bool:
        """End after the present job; returns whether it ended within `timeout_s` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._began_s = time.monotonic()
            job()
            self._began_s = None


def leave(status: int) -> int:
    """The exit status, or the end of the process where a planning thread still runs.

    The interpreter would tear it down in the middle of PyTorch, which aborts the process.
    """
    if any(thread.name == NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


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
        watched: whether somebody looks at what the model imagines; set by the executor's thread.
    """

    def __init__(
        self,
        parts: PlannerStack,
        supervisor: Watchdog,
        values: Callable[[], dict[str, Any]],
        now_ns: Callable[[], int],
        warn: Callable[[str, str], None],
    ) -> None:
        """Begin without plans.

        Args:
            parts: of the configured node.
            supervisor: of the activation; is told of each replan.
            values: gives the present parameters.
            now_ns: gives the present time of the images' stamps.
            warn: logs a text under a key, not too often.
        """
        self._parts, self._supervisor = parts, supervisor
        self._values, self._now_ns, self._warn = values, now_ns, warn
        self.newest: Replanned | None = None
        self.watched = False

    def replan(self) -> None:
        """Plan once; whatever goes wrong is logged, and the thread lives on."""
        try:
            self._plan_once()
        except Exception:
            self._warn('replan', f'replanning failed:\n{traceback.format_exc()}')

    def _plan_once(self) -> None:
        parts = self._parts
        report = parts.controller.plan(self._now_ns())
        parts.controller.planned(self._now_ns())
        self._supervisor.planned(report)
        if report.still_serves or (report.plan is not None and not report.accepted):
            return
        if report.state is State.STALE_IMAGE:
            self._warn('picture', f'image cannot be used: {report.reason}')
        plans = self.newest.plans if self.newest else 0
        message = strip = None
        if report.plan is not None:
            plans += 1
            message = plan_message(
                report,
                plan_fields(report, parts.manifest, parts.planner),
                self._values()['command.frame_id'],
            )
            if self.watched:
                views = parts.controller.views()
                if views is not None:
                    strip = film_strip(report, parts.model, parts.manifest, *views)
        self.newest = Replanned(report, plans, message, strip)
