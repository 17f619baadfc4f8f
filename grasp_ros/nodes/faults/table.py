"""Every fault that the planner must survive: how it is seen, what happens, how it ends."""

from __future__ import annotations

from dataclasses import dataclass

from grasp_ros.core.types import State
from grasp_ros.nodes.parameters import PARAMETERS
from grasp_ros.nodes.sim_robot import PARAMETERS as ROBOT_PARAMETERS
from grasp_ros.nodes.spin import SPIN_S

PERIOD_S = 0.1
TRANSPORT_S = 0.02
"""For two messages on their way; beside a period and the named timeout, in every limit."""

CONSTANTS = {
    'camera period': 0.1,
    'signal check': SPIN_S,
}
"""Named timeouts that are no parameters, seconds."""


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: of the fault.
        detection: how the node sees it.
        state: that the node reports, or None where its state does not show it.
        reaction: what the node does.
        recovery: what ends it; without a restart of the process unless it says so.
        timeouts: parameters (seconds) and CONSTANTS that the reaction may take, beside a period.
        parameter: further parameter that decides, for people.
    """

    name: str
    detection: str
    state: State | None
    reaction: str
    recovery: str
    timeouts: tuple[str, ...] = ()
    parameter: str = ''

    @property
    def limit_s(self) -> float:
        """Longest time from fault to reaction with default parameters, seconds."""
        return PERIOD_S + sum(_SECONDS[name] for name in self.timeouts) + TRANSPORT_S

    @property
    def reaction_text(self) -> str:
        """State and reaction, for people."""
        return self.reaction if self.state is None else f'{self.state.name}: {self.reaction}'


_SECONDS = CONSTANTS | {
    row.name: float(row.default)
    for row in (*PARAMETERS, *ROBOT_PARAMETERS)
    if isinstance(row.default, float)
}

_STOP = 'stop'
_GOES_ON = 'none: goes on'
_CAMERA = (
    Fault(
        'camera stops',
        'age of the newest image, by its stamp and by its arrival',
        State.STALE_IMAGE,
        _STOP,
        'images return',
        ('image_timeout',),
    ),
    Fault(
        'camera freezes by stamp',
        'age of the newest image by its stamp',
        State.STALE_IMAGE,
        _STOP,
        'stamps go on',
        ('image_timeout',),
    ),
    Fault(
        'camera jumps back in time',
        'stamp older than that of an earlier image, by more than image_timeout',
        State.STALE_IMAGE,
        'stop, forget all earlier images',
        'stamps are right again',
        ('image_timeout',),
    ),
    Fault(
        'camera is ahead of now',
        'stamp more than 0.1 s ahead of now',
        State.STALE_IMAGE,
        'images refused, stop when the last good one is too old',
        'stamps are right again',
        ('image_timeout',),
    ),
    Fault(
        'camera is late',
        'age of the newest image by its stamp',
        State.STALE_IMAGE,
        _STOP,
        'images come in time again',
        ('image_timeout',),
    ),
    Fault(
        'camera floods',
        'not at all: only the newest image waits, and only what is planned from is decoded',
        State.RUNNING,
        _GOES_ON,
        'nothing to recover from',
    ),
    Fault(
        'camera changes resolution',
        'size of each image',
        State.RUNNING,
        'none: resized as the manifest says',
        'nothing to recover from',
    ),
    Fault(
        'camera changes encoding',
        'encoding of each image',
        State.RUNNING,
        'none: converted',
        'nothing to recover from',
    ),
    Fault(
        'camera sends an unknown encoding',
        'encoding of each image',
        State.STALE_IMAGE,
        'images refused by name, stop when the last good one is too old',
        'a supported encoding',
        ('image_timeout',),
    ),
    Fault(
        'camera sends truncated images',
        'bytes of each image',
        State.STALE_IMAGE,
        'images refused, stop when the last good one is too old',
        'whole images',
        ('image_timeout',),
    ),
)
_GOAL = (
    Fault(
        'goal is missing',
        'none received since activation',
        State.WAITING_GOAL,
        'no command before the first, stop after it',
        'a goal',
    ),
    Fault(
        'goal is replaced in mid-run',
        'its content differs',
        None,
        'the plan for the old goal is dropped; stop until there is one for the new',
        'the next plan',
    ),
    Fault(
        'goal is republished unchanged',
        'its content is the same',
        State.RUNNING,
        _GOES_ON,
        'nothing to recover from',
    ),
)
_PLANNER = (
    Fault(
        'planner raises',
        'exception caught',
        State.PLANNER_ERROR,
        _STOP,
        'the next good plan',
    ),
    Fault(
        'planner returns NaN',
        'the plan is not finite',
        State.BAD_PLAN,
        _STOP,
        'the next good plan',
    ),
    Fault(
        'planner overruns',
        'age of the image behind the plan',
        State.PLAN_EXPIRED,
        'stop when the plan is too old',
        'plans in time',
        ('max_plan_age',),
        'planner.deadline',
    ),
)
_TIME = (
    Fault(
        'simulated clock jumps ahead',
        'age of the newest image by its stamp',
        State.STALE_IMAGE,
        _STOP,
        'images with the new time',
        ('image_timeout',),
    ),
)
_TOPICS = (
    Fault(
        'dangerous parameter changed while active',
        'its row in the table of parameters',
        State.RUNNING,
        'refused with a reason; goes on',
        'nothing to recover from',
    ),
)
_PROCESSES = (
    Fault(
        'planner gets SIGINT',
        'signal handler',
        None,
        'the stop is published and acknowledged, exit status 0',
        'restart',
        ('signal check',),
    ),
    Fault(
        'planner gets SIGTERM',
        'signal handler',
        None,
        'the stop is published and acknowledged, exit status 0',
        'restart',
        ('signal check',),
    ),
    Fault(
        'robot gets SIGINT',
        'age of the newest image',
        State.STALE_IMAGE,
        _STOP,
        'the robot starts again; the planner does not',
        ('image_timeout', 'signal check'),
    ),
    Fault(
        'robot gets SIGTERM',
        'age of the newest image',
        State.STALE_IMAGE,
        _STOP,
        'the robot starts again; the planner does not',
        ('image_timeout', 'signal check'),
    ),
    Fault(
        'robot gets SIGKILL',
        'age of the newest image',
        State.STALE_IMAGE,
        _STOP,
        'the robot starts again; the planner does not',
        ('image_timeout',),
    ),
    Fault(
        'planner gets SIGKILL',
        "the robot's own: no command comes",
        None,
        'the robot stops by itself',
        'restart',
        ('command_timeout',),
    ),
)
FAULTS: tuple[Fault, ...] = _CAMERA + _GOAL + _PLANNER + _TIME + _TOPICS + _PROCESSES


def markdown_table() -> str:
    """The table for the README."""
    lines = [
        '| fault | detection | reaction | recovery | within a period and |',
        '|---|---|---|---|---|',
    ]
    for row in FAULTS:
        names = [f'`{name}`' if name not in CONSTANTS else name for name in row.timeouts]
        further = f' (`{row.parameter}`)' if row.parameter else ''
        lines.append(
            f'| {row.name} | {row.detection}{further} | {row.reaction_text} | {row.recovery} '
            f'| {" and ".join(names)} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    print(markdown_table())
