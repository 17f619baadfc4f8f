"""The planner node on a virtual clock: the same controller, configured times for measured ones.

Planning takes no virtual time to compute; a plan's first action is due `planning_delay` after
planning began, and the next replan begins then at the earliest, as on the node's planning thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from grasp_ros.bags.events import Event, GoalGiven, ImageSeen, ProprioceptionReceived, Refused
from grasp_ros.control.controller import Controller
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command
from grasp_ros.models.sensors import PROPRIOCEPTION


@dataclass(frozen=True)
class Pace:
    """Configured times.

    Attributes:
        period_ns: between two control ticks.
        replan_ns: from the beginning of one replan to that of the next, at least.
    """

    period_ns: int
    replan_ns: int


@dataclass(frozen=True, eq=False)
class Tick:
    """A control tick, and the command that is due."""

    time_ns: int
    command: Command


@dataclass(frozen=True, eq=False)
class Replan:
    """A replan that began at `time_ns`."""

    time_ns: int
    report: PlanReport


Outcome = Tick | Replan | Refused


class VirtualNode:
    """Feeds a controller as the node does, one event after the other."""

    def __init__(self, controller: Controller, pace: Pace) -> None:
        """Begin with nothing known; the first event starts the clock.

        Args:
            controller: prepared.
            pace: of ticks and replans.
        """
        self._controller = controller
        self._pace = pace
        self._next_tick_ns: int | None = None
        self._wanted = False
        self._free_ns = 0
        controller.reset()

    def feed(self, event: Event) -> Iterator[Outcome]:
        """Let time pass until the event, and let it happen.

        Args:
            event: not before the one fed last.
        """
        if self._next_tick_ns is None:
            self._next_tick_ns = self._free_ns = event.time_ns
        yield from self.until(event.time_ns)
        if isinstance(event, (ImageSeen, ProprioceptionReceived)):
            yield from self._sense(event)
        elif isinstance(event, GoalGiven) and self._controller.set_goal(event.image):
            self._want(event.time_ns)
        elif isinstance(event, Refused):
            yield event

    def _sense(self, event: ImageSeen | ProprioceptionReceived) -> Iterator[Outcome]:
        """Hand over what a sensor gave; a complete observation is planned from."""
        name, data = (
            (event.camera, event.decode)
            if isinstance(event, ImageSeen)
            else (PROPRIOCEPTION, event.values)
        )
        now_ns, before = event.time_ns, self._controller.observations
        refused = self._controller.add_measurement(
            name, data, event.stamp_ns or now_ns, now_ns=now_ns, arrival_ns=now_ns
        )
        if refused:
            what: Literal['image', 'proprioception'] = (
                'image' if isinstance(event, ImageSeen) else 'proprioception'
            )
            yield Refused(now_ns, what, refused)
        elif self._controller.observations > before:
            self._want(now_ns)

    def until(self, time_ns: int) -> Iterator[Outcome]:
        """Let time pass: ticks and replans that are due before `time_ns`."""
        if self._next_tick_ns is None:
            return
        while True:
            plan_ns = self._free_ns if self._wanted else None
            if plan_ns is not None and plan_ns <= self._next_tick_ns and plan_ns < time_ns:
                yield self._replan(plan_ns)
            elif self._next_tick_ns < time_ns:
                yield self._tick(self._next_tick_ns)
                self._next_tick_ns += self._pace.period_ns
            else:
                return

    def _want(self, now_ns: int) -> None:
        """Replan as soon as the planning thread would be free."""
        self._wanted = True
        self._free_ns = max(self._free_ns, now_ns)

    def _replan(self, now_ns: int) -> Replan:
        self._wanted = False
        report = self._controller.plan(now_ns)
        self._free_ns = now_ns + self._pace.replan_ns
        return Replan(now_ns, report)

    def _tick(self, now_ns: int) -> Tick:
        return Tick(now_ns, self._controller.command(now_ns, now_ns))
