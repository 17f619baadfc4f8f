"""The planner node on a virtual clock, what it would publish, and the figures of its run.

The same controller, configured times for measured ones. Planning takes no virtual time to compute;
a plan's first action is due `planning_delay` after planning began, and the next replan begins then
at the earliest, as on the node's planning thread.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from grasp_ros.bags.events import (
    Event,
    GoalGiven,
    ImageSeen,
    ProprioceptionReceived,
    Refused,
    is_image,
)
from grasp_ros.bags.message_types import PLAN, STATUS, header, make_message, time_message, typestore
from grasp_ros.bags.writer import BagWriter
from grasp_ros.control.controller import Controller
from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command, State
from grasp_ros.messages.commands import CommandLayout
from grasp_ros.messages.status import LoopStatistics, build_status, plan_fields
from grasp_ros.models.sensors import PROPRIOCEPTION
from grasp_ros.parameters.table import NodeParameters


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


@dataclass(frozen=True)
class OutputTopics:
    """Names in the bag that is written."""

    command: str = '/command'
    status: str = '/planner/status'
    plan: str = '/planner/plan'


class Recording:
    """Writes what the node would have published; measured times are left unknown.

    So the same input gives the same bytes.
    """

    def __init__(
        self,
        bag: BagWriter,
        parts: PlannerStack,
        params: NodeParameters,
        layout: CommandLayout,
        topics: OutputTopics,
    ) -> None:
        """Write into `bag`, as the parameters say."""
        self._bag = bag
        self._parts = parts
        self._params = params
        self._layout = layout
        self._topics = topics
        self._report: PlanReport | None = None
        self._checked: PlanReport | None = None
        self._plans = 0
        self._images_refused = 0
        for type_name in (layout.command_type, STATUS, PLAN):
            # The library writes its serializers when they are first needed.
            typestore().serialize_cdr(make_message(type_name), type_name)

    def add(self, outcome: Outcome) -> None:
        """Write one outcome; of what was refused, the count in the status.

        Raises:
            BagError: if the disk is full or fails.
        """
        if isinstance(outcome, Tick):
            self._tick(outcome.time_ns, outcome.command)
        elif isinstance(outcome, Replan):
            self._replan(outcome.time_ns, outcome.report)
        else:
            self._images_refused += outcome.what != 'goal'

    def _tick(self, now_ns: int, command: Command) -> None:
        topics, layout = self._topics, self._layout
        if command.action is not None and not self._params.dry_run:
            message = layout.encode(command.action, time_message(now_ns))
            self._bag.write(topics.command, layout.command_type, now_ns, message)
        loop = LoopStatistics(
            report=self._report,
            plans=self._plans,
            missed=0,
            jitter_s=0.0,
            images_refused=self._images_refused,
            solves_late=0,
            checked=self._checked,
        )
        name = self._params.planner.name
        status = build_status(self._parts, command, loop, now_ns, name)
        self._write(topics.status, STATUS, now_ns, now_ns, vars(status))

    def _replan(self, now_ns: int, report: PlanReport) -> None:
        if report.image_check is not None:
            self._checked = report
        if not report.counts:
            return
        self._report = report
        if report.plan is None or report.timed is None:
            return
        self._plans += 1
        fields = plan_fields(report, self._parts.manifest, self._parts.planner)
        fields['observation_stamp'] = time_message(report.timed.observation_stamp_ns)
        self._write(self._topics.plan, PLAN, now_ns, report.timed.start_ns, fields)

    def _write(
        self, topic: str, type_name: str, now_ns: int, stamp: int, fields: dict[str, Any]
    ) -> None:
        self._bag.write_fields(
            topic,
            type_name,
            now_ns,
            {
                **fields,
                'solve_time': math.nan,
                'header': header(stamp, self._layout.frame_id),
            },
        )


class Tally:
    """Counts and times of a replay, ready for JSON."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._images = 0
        self._refused: Counter[str] = Counter()
        self._goals = 0
        self._states: Counter[str] = Counter()
        self._stops: list[dict[str, Any]] = []
        self._commands = 0
        self._clamped = 0
        self._plans = 0
        self._faults: Counter[str] = Counter()
        self._digest = hashlib.sha256()
        self._solve_s: list[float] = []
        self._outside_s: list[float] = []
        self._outside_cpu_s: list[float] = []
        self._start_ns: int | None = None
        self._ticks = 0
        self._stopped_tick = -1

    @property
    def digest(self) -> str:
        """SHA-256 over times and values of the commands."""
        return self._digest.hexdigest()

    def event(self, event: Event) -> None:
        """Count what arrived."""
        if self._start_ns is None:
            self._start_ns = event.time_ns
        self._goals += isinstance(event, GoalGiven)
        self._images += is_image(event)

    def outcome(self, outcome: Outcome) -> None:
        """Count what came of it."""
        if isinstance(outcome, Refused):
            self._refused[f'{outcome.what}: {outcome.reason}'] += 1
        elif isinstance(outcome, Replan):
            self._replan(outcome.report)
        else:
            self._tick(outcome.time_ns, outcome.command)

    def outside(self, wall_s: float, cpu_s: float) -> None:
        """Note the time that one image took outside the solves."""
        self._outside_s.append(wall_s)
        self._outside_cpu_s.append(cpu_s)

    def content(self) -> dict[str, Any]:
        """The figures."""
        return {
            'images': {'received': self._images, 'refused': dict(self._refused)},
            'goals': self._goals,
            'plans': {'made': self._plans, 'faults': dict(self._faults)},
            'commands': {
                'count': self._commands,
                'clamped': self._clamped,
                'sha256': self.digest,
            },
            'states': dict(self._states),
            'stops': self._stops,
            'solve_ms': _milliseconds(self._solve_s),
            'outside_solves_ms_per_image': _milliseconds(self._outside_s),
            'outside_solves_cpu_ms_per_image': _milliseconds(self._outside_cpu_s),
        }

    def _replan(self, report: PlanReport) -> None:
        if report.plan is not None:
            self._plans += 1
            self._solve_s.append(report.plan.solve_time_s)
        elif report.reason:
            self._faults[f'{report.state.name}: {report.reason}'] += 1

    def _tick(self, now_ns: int, command: Command) -> None:
        state = command.state.name
        self._states[state] += 1
        self._ticks += 1
        self._clamped += bool(command.clamped)
        if command.action is not None:
            self._commands += 1
            self._digest.update(struct.pack('<q', now_ns))
            self._digest.update(np.asarray(command.action, '<f8').tobytes())
        if command.state is State.RUNNING:
            return
        seconds = (now_ns - (self._start_ns or now_ns)) / 1e9
        follows = self._stopped_tick == self._ticks - 1
        self._stopped_tick = self._ticks
        if follows and self._stops and self._stops[-1]['state'] == state:
            self._stops[-1]['until_s'] = seconds
            return
        self._stops.append(
            {'state': state, 'reason': command.reason, 'from_s': seconds, 'until_s': seconds}
        )


def _milliseconds(seconds: list[float]) -> dict[str, float | int | None]:
    """Median, 99th percentile and maximum."""
    if not seconds:
        return {'count': 0, 'median': None, 'p99': None, 'max': None}
    milliseconds = 1e3 * np.array(seconds)
    return {
        'count': len(seconds),
        'median': float(np.median(milliseconds)),
        'p99': float(np.percentile(milliseconds, 99)),
        'max': float(milliseconds.max()),
    }
