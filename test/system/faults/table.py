"""Every fault that the planner must survive: how it is seen, what happens, how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grasp_ros.control.types import State
from grasp_ros.node.watchdog import CHECK_S
from grasp_ros.parameters.table import PARAMETERS
from grasp_ros.ros.spin import SPIN_S
from grasp_ros.tools.sim_robot import PARAMETERS as ROBOT_PARAMETERS

PERIOD_S = 0.1
TRANSPORT_S = 0.02
"""For two messages on their way; beside a period and the named timeout, in every limit."""

CONSTANTS = {
    'camera period': 0.1,
    'two camera periods': 0.2,
    'another control period': PERIOD_S,
    'signal check': SPIN_S,
    'graph and file check': CHECK_S,
    'two checks': 2 * CHECK_S,
    'chunk of the bag': 0.2,  # at the rate of images that the harness sends
    'end of the recorder': 1.5,  # the process, with its interpreter
}
"""Named timeouts that are no parameters, seconds."""
_IMAGES = {'novel_images'}
"""Parameters that count images; as timeouts, so many camera periods."""


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
        provoked_with: parameters that the harness changes, so that nobody waits long.
    """

    name: str
    detection: str
    state: State | None
    reaction: str
    recovery: str
    timeouts: tuple[str, ...] = ()
    parameter: str = ''
    provoked_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def limit_s(self) -> float:
        """Longest time from fault to reaction as the harness provokes it, seconds."""
        seconds = {**_SECONDS, **self.provoked_with}
        return PERIOD_S + sum(seconds[name] for name in self.timeouts) + TRANSPORT_S

    @property
    def reaction_text(self) -> str:
        """State and reaction, for people."""
        return self.reaction if self.state is None else f'{self.state.name}: {self.reaction}'


_SECONDS = CONSTANTS | {
    row.name: row.default * (CONSTANTS['camera period'] if row.name in _IMAGES else 1.0)
    for row in (*PARAMETERS, *ROBOT_PARAMETERS)
    if isinstance(row.default, float) or (isinstance(row.default, int) and row.name in _IMAGES)
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
        'camera freezes by content',
        'the same image again and again although the model expects visible motion',
        State.BAD_IMAGE,
        _STOP,
        'another image',
        ('frozen_timeout', 'two camera periods', 'planner.deadline'),
        'frozen_tolerance',
    ),
    Fault(
        'camera goes dark',
        'mean of the image',
        State.BAD_IMAGE,
        _STOP,
        'a brighter image',
        ('camera period', 'planner.deadline'),
        'min_brightness',
    ),
    Fault(
        'camera is covered',
        'standard deviation of the image',
        State.BAD_IMAGE,
        _STOP,
        'an image with more contrast',
        ('camera period', 'planner.deadline'),
        'min_contrast',
    ),
    Fault(
        'camera shows something unfamiliar',
        'distance from the training data, calibrated on held-out images',
        State.BAD_IMAGE,
        'warning, then stop',
        'a familiar image',
        ('novel_images', 'camera period', 'planner.deadline'),
        'max_novelty',
    ),
    Fault(
        'camera jumps back a little',
        'stamp older than that of an earlier image, by less than image_timeout',
        State.RUNNING,
        'images refused until stamps go on; the last good plan is followed meanwhile',
        'nothing to recover from',
        parameter='image_timeout',
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
        'warning; resized as the manifest says',
        'nothing to recover from',
    ),
    Fault(
        'camera changes encoding',
        'encoding of each image',
        State.RUNNING,
        'warning; converted',
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
    Fault(
        'goal cannot be reached',
        'driven without coming nearer, beyond the noise of the goal distance',
        State.STALLED,
        'stop and hold',
        'another goal, or ~/enable',
        ('goal.give_up_time', 'two camera periods', 'planner.deadline'),
        provoked_with={'goal.give_up_time': 2.0},
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
    Fault(
        'planner hangs',
        'the planning thread is busy with one solve for too long',
        State.PLANNER_ERROR,
        'stop',
        'the solve returns; clean up and configure begins a new thread',
        ('planner.hang_timeout',),
        'max_plan_age, which may stop it earlier',
    ),
    Fault(
        'GPU runs out of memory',
        'exception caught',
        State.PLANNER_ERROR,
        'stop, free cached memory, try again with the next image; after 5 failures no more',
        'the next good plan; after 5 failures activation',
    ),
    Fault(
        'GPU is lost',
        'exception caught',
        State.PLANNER_ERROR,
        'stop, try no more',
        'clean up and configure',
    ),
)
_MODEL = (
    Fault(
        'model file is replaced on disk',
        'size, time and inode of the files',
        State.RUNNING,
        'warning; goes on with the model that is loaded',
        'clean up and configure loads the new one',
        ('graph and file check',),
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
    Fault(
        'simulated clock jumps back',
        'now is before the last tick, by more than image_timeout',
        State.WAITING_IMAGE,
        'stop, forget all earlier images',
        'images with the new time',
        ('another control period',),
        'image_timeout',
    ),
    Fault(
        'simulated time pauses',
        'a steady clock beside it',
        State.STALE_IMAGE,
        'stop, by ticks of the steady clock',
        'time goes on',
        ('image_timeout', 'another control period'),
    ),
)
_TOPICS = (
    Fault(
        'nobody listens to command',
        'subscriptions to the topic',
        State.RUNNING,
        'warning; goes on',
        'a subscription',
        ('two checks',),
    ),
    Fault(
        'second publisher on command',
        'publishers on the topic',
        State.CONFLICT,
        _STOP,
        'the other one leaves',
        ('graph and file check',),
        'command.conflict',
    ),
    Fault(
        'harmless parameter changed while active',
        'its row in the table of parameters',
        State.BAD_IMAGE,
        'takes effect in the next plan (min_brightness, say, on an image that is darker now)',
        'the value before',
        ('camera period', 'planner.deadline'),
    ),
    Fault(
        'dry run switched on while active',
        'parameter callback',
        None,
        'the stop, then no command; switching it off is refused',
        'clean up and configure',
        parameter='dry_run',
    ),
    Fault(
        'dangerous parameter changed while active',
        'its row in the table of parameters',
        State.RUNNING,
        'refused with a reason; goes on',
        'nothing to recover from',
    ),
)
_RECORDER = (
    Fault(
        'disk full while recording',
        'a write fails',
        State.RUNNING,
        'the recorder closes the bag, says why and ends with status 1; the planner goes on',
        'room on the disk and a new recording',
        ('chunk of the bag', 'end of the recorder'),
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
FAULTS: tuple[Fault, ...] = (
    *_CAMERA, *_GOAL, *_PLANNER, *_MODEL, *_TIME, *_TOPICS, *_RECORDER, *_PROCESSES
)


def by_name(name: str) -> Fault:
    """The row of that name."""
    return next(fault for fault in FAULTS if fault.name == name)


def markdown_table() -> str:
    """The table of docs/safety.md."""
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
