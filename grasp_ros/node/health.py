"""How well the planner does, judged once a second from its statuses and phase times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from grasp_ros.control.types import State
from grasp_ros.messages.status import Status
from grasp_ros.node.latency_trace import Latency, PhaseRecorder
from grasp_ros.parameters.table import NodeParameters
from grasp_ros.planning.protocol import Execution


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Hysteresis:
    """Raises ERROR at once and WARN after some judgements in a row; lowers after a time.

    Attributes:
        level: now.
        message: of what made it so.
    """

    def __init__(self, hold_s: float, warn_after: int = 1) -> None:
        """Begin with OK.

        Args:
            hold_s: how long all must have been better before the level is lowered, seconds.
            warn_after: judgements of WARN in a row that count.
        """
        self._hold_s = hold_s
        self._warn_after = warn_after
        self._in_a_row = 0
        self._seen_s = 0.0
        self.level = Level.OK
        self.message = ''

    def update(self, level: Level, message: str, now_s: float) -> tuple[Level, str]:
        """Take a judgement.

        Returns:
            The level to report and why; a level that is held says since when all is better.
        """
        self._in_a_row = self._in_a_row + 1 if level > Level.OK else 0
        if level is Level.WARN and self.level is Level.OK and self._in_a_row < self._warn_after:
            return self.level, self.message
        held_s = now_s - self._seen_s
        if level >= self.level or held_s >= self._hold_s:
            self.level, self.message, self._seen_s = level, message, now_s
            return level, message
        return self.level, f'{self.message} ({held_s:.0f} s ago)'

JITTERS_KEPT = 600
MISSED_ERROR = 0.1
LATE_WARNING = 0.5
WARN_AFTER = {'planning': 2, 'commands': 2, 'model': 2}
BAD_PICTURE = (State.STALE_IMAGE, State.BAD_IMAGE)
BAD_PLANNING = (State.PLANNER_ERROR, State.BAD_PLAN, State.PLAN_EXPIRED)
IDLE = (State.WAITING_IMAGE, State.DISABLED, State.STALLED)


@dataclass(frozen=True)
class Thresholds:
    """Where warnings begin; seconds where there is a time.

    Attributes:
        image_age: of the newest image; half the age at which the robot stops.
        plan_age: of the image behind the plan; half the age at which it expires.
        jitter: 99th percentile of the newest minute or so.
        prediction_error: model steps of motion, median of a second; twice that is an error.
        hold: how long all must have been better before a level is lowered.
    """

    image_age: float
    plan_age: float
    jitter: float
    prediction_error: float
    hold: float

    @classmethod
    def of(cls, params: NodeParameters) -> Thresholds:
        """From the node's parameters."""
        return cls(
            image_age=params.image_timeout / 2,
            plan_age=params.max_plan_age / 2,
            jitter=params.diagnostics.max_jitter,
            prediction_error=params.diagnostics.max_prediction_error,
            hold=params.diagnostics.hold_time,
        )


@dataclass(frozen=True)
class Entry:
    """One status of /diagnostics.

    Attributes:
        name: what is judged.
        level: after hysteresis.
        message: why.
        values: for people.
    """

    name: str
    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """What happened since the judgement before.

    Attributes:
        statuses: of each tick, oldest first; at least one.
        before: the newest status before these, or None.
        seconds: how long it took.
        counts: how often each phase ended.
        latencies: of the phases.
        jitters: newest ones, also from before, seconds.
    """

    statuses: Sequence[Status]
    before: Status | None
    seconds: float
    counts: dict[str, int]
    latencies: dict[str, Latency]
    jitters: Sequence[float]

    @property
    def newest(self) -> Status:
        """The newest status."""
        return self.statuses[-1]

    def gained(self, name: str) -> int:
        """How much a counter of the status has grown."""
        return int(getattr(self.newest, name)) - int(getattr(self.before, name, 0))

    def first_in(self, states: Sequence[State]) -> Status | None:
        """The first status in one of these states, or None."""
        return next((status for status in self.statuses if status.state in states), None)

    def rate(self, phase: str) -> str:
        """How often a phase ended in a second."""
        return f'{self.counts.get(phase, 0) / max(self.seconds, 1e-9):.1f} Hz'


Judgement = tuple[Level, str, dict[str, str]]


class Health:
    """Gathers the statuses of one activation and judges them."""

    def __init__(self, thresholds: Thresholds, phases: PhaseRecorder, now_s: float) -> None:
        """Begin at `now_s`, seconds of a steady clock, with `phases` cleared."""
        self._thresholds = thresholds
        self._phases = phases
        self._judged_s = now_s
        self._counts: dict[str, int] = {}
        self._statuses: list[Status] = []
        self._before: Status | None = None
        self._jitters: deque[float] = deque(maxlen=JITTERS_KEPT)
        self._levels = {
            name: Hysteresis(thresholds.hold, WARN_AFTER.get(name, 1)) for name in JUDGES
        }

    def tick(self, status: Status) -> None:
        """Take the status of a control tick."""
        self._statuses.append(status)
        self._jitters.append(status.jitter)

    def entries(self, now_s: float) -> list[Entry]:
        """Judge what has happened since the last call; nothing without a tick."""
        latencies = self._phases.summary()
        counts = {phase: latency.count for phase, latency in latencies.items()}
        if not self._statuses:
            return [Entry('controller', Level.ERROR, 'active, but there are no control ticks')]
        span = Span(
            self._statuses,
            self._before,
            now_s - self._judged_s,
            {phase: count - self._counts.get(phase, 0) for phase, count in counts.items()},
            latencies,
            list(self._jitters),
        )
        self._before, self._statuses = span.newest, []
        self._judged_s, self._counts = now_s, counts
        found = []
        for name, judge in JUDGES.items():
            level, message, values = judge(span, self._thresholds)
            found.append(Entry(name, *self._levels[name].update(level, message, now_s), values))
        return found


def _images(span: Span, bounds: Thresholds) -> Judgement:
    newest, refused = span.newest, span.gained('images_refused')
    values = {
        'rate': span.rate('receive'),
        'age': _seconds(newest.image_age),
        'refused': str(newest.images_refused),
        **_latency(span, 'receive', 'decode', 'preprocess'),
    }
    bad = span.first_in(BAD_PICTURE)
    if bad is not None:
        return Level.ERROR, bad.reason, values
    if newest.state == State.WAITING_IMAGE:
        return Level.WARN, newest.reason, values
    if refused:
        return Level.WARN, f'{refused} images refused', values
    oldest = max((status.image_age for status in span.statuses), default=math.nan)
    if oldest > bounds.image_age:
        return Level.WARN, f'an image was {oldest:.2f} s old', values
    return Level.OK, 'images arrive', values


def _planning(span: Span, bounds: Thresholds) -> Judgement:
    newest, plans = span.newest, span.gained('plans')
    late, dropped = span.gained('solves_late'), span.gained('plans_dropped')
    values = {
        'rate': span.rate('plan'),
        'solve time': _milliseconds(newest.solve_time),
        **_latency(span, 'encode', 'plan'),
        'planning delay': _milliseconds(newest.planning_delay),
        'plan age': _seconds(newest.plan_age),
        'iterations': str(newest.iterations),
        'horizon': str(newest.horizon),
        'defect': f'{newest.defect:.4g}',
        'solves late': str(newest.solves_late),
        'plans dropped': str(newest.plans_dropped),
        'planner': newest.planner,
        'device': newest.device,
        'execution': newest.execution,
    }
    bad = span.first_in(BAD_PLANNING)
    if bad is not None:
        return Level.ERROR, bad.reason, values
    if late > LATE_WARNING * (plans + dropped):
        return Level.WARN, f'{late} of {plans + dropped} solves were late', values
    oldest = max((status.plan_age for status in span.statuses), default=math.nan)
    if newest.state == State.RUNNING and oldest > bounds.plan_age:
        return Level.WARN, f'a plan was {oldest:.2f} s old', values
    if Execution.parse(newest.execution).failure:
        return Level.WARN, f'slower than it could be: {newest.execution}', values
    return Level.OK, f'{plans} plans', values


def _commands(span: Span, bounds: Thresholds) -> Judgement:
    newest, missed = span.newest, span.gained('missed')
    median, p99, most = np.percentile(span.jitters, (50, 99, 100)).tolist()
    values = {
        'rate': span.rate('publish'),
        'jitter median': _milliseconds(median),
        'jitter p99': _milliseconds(p99),
        'jitter max': _milliseconds(most),
        'missed': str(newest.missed),
        'clamped': str(newest.clamped),
        'clamped by box': str(newest.clamped_box),
        'clamped by rate': str(newest.clamped_rate),
        'clamped by acceleration': str(newest.clamped_acceleration),
        **_latency(span, 'publish'),
        'dry run': str(newest.dry_run).lower(),
    }
    conflict = span.first_in((State.CONFLICT,))
    if conflict is not None:
        return Level.ERROR, conflict.reason, values
    if missed > MISSED_ERROR * (len(span.statuses) + missed):
        return Level.ERROR, f'{missed} control ticks missed', values
    if missed:
        return Level.WARN, f'{missed} control ticks missed', values
    if p99 > bounds.jitter:
        return Level.WARN, f'jitter p99 is {_milliseconds(p99)}', values
    clamped = span.gained('clamped_box')
    if clamped:
        return Level.WARN, f'{clamped} commands were outside the limits', values
    return Level.OK, 'commands are on time', values


def _model(span: Span, bounds: Thresholds) -> Judgement:
    newest = span.newest
    errors = [status.prediction_error for status in span.statuses]
    known = [error for error in errors if not math.isnan(error)]
    error = float(np.median(known)) if known else math.nan
    values = {
        'novelty': f'{newest.novelty:.3g}',
        'prediction error': f'{error:.3g} model steps',
        'goal distance': f'{newest.goal_distance:.4g} {newest.goal_distance_unit}',
        'trust horizon': str(newest.trust_horizon),
    }
    for level, factor in ((Level.ERROR, 2.0), (Level.WARN, 1.0)):
        if error > factor * bounds.prediction_error > 0:
            reason = f'imagined and real differ by {error:.1f} model steps of motion'
            return level, reason, values
    if newest.novelty > 1.0:
        return Level.WARN, f'unlike the training data: novelty {newest.novelty:.2f}', values
    return Level.OK, 'imagination and camera agree' if known else 'nothing to compare', values


def _controller(span: Span, bounds: Thresholds) -> Judgement:
    def severity(status: Status) -> Level:
        if status.state in IDLE:
            return Level.WARN
        return Level.ERROR if status.state >= State.STALE_IMAGE else Level.OK

    worst = max(span.statuses, key=lambda status: (severity(status), status is span.newest))
    text = worst.state.name + (f': {worst.reason}' if worst.reason else '')
    return severity(worst), text, {'state': span.newest.state.name}


JUDGES: dict[str, Callable[[Span, Thresholds], Judgement]] = {
    'images': _images,
    'planning': _planning,
    'commands': _commands,
    'model': _model,
    'controller': _controller,
}


def _latency(span: Span, *phases: str) -> dict[str, str]:
    return {
        f'{phase} median / p99 / max': ' / '.join(
            _milliseconds(value) for value in (found.median, found.p99, found.longest)
        )
        for phase in phases
        if (found := span.latencies.get(phase)) is not None
    }


def _milliseconds(seconds: float) -> str:
    return f'{1e3 * seconds:.2f} ms'


def _seconds(seconds: float) -> str:
    return f'{seconds:.3f} s'
