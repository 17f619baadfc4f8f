"""Levels of diagnostics: which fault gives which level, and for how long."""

import math
from dataclasses import replace

import pytest

from grasp_ros.bags.message_types import STATUS, typestore
from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.types import State
from grasp_ros.messages.status import LoopStatistics, build_status
from grasp_ros.models.checkpoint import find_model, read_manifest
from grasp_ros.node.health import Health, Hysteresis, Level, Thresholds
from grasp_ros.node.latency_trace import PhaseRecorder
from harness.controller_rig import Rig

HOLD = 5.0
THRESHOLDS = Thresholds(
    image_age=0.25, plan_age=0.5, jitter=0.01, prediction_error=3.0, hold=HOLD
)


def good_status():
    """Return what a driven toy robot reports, and what a toy does not measure."""
    rig = Rig().running()
    manifest = read_manifest(find_model('two_room'))
    stack = PlannerStack(rig.controller, rig.model, manifest, rig.planner, [])
    loop = LoopStatistics(
        report=rig.report, plans=0, missed=0, jitter_s=0.002, images_refused=0, solves_late=0
    )
    status = build_status(stack, rig.command(), loop, rig.now, 'grasp')
    return replace(status, novelty=0.5, prediction_error=0.8)


GOOD = good_status()


class Planner:
    """A planner's statuses, ten in a second, and what is said of them."""

    def __init__(self):
        self.now_s = 100.0
        self.health = Health(THRESHOLDS, PhaseRecorder(), self.now_s)
        self.status = GOOD

    def second(self, **changes):
        """One second with these values at its end; the entries by name."""
        for number in range(10):
            last = changes if number == 9 else {}
            self.status = replace(self.status, plans=self.status.plans + 1, **last)
            self.health.tick(self.status)
        self.now_s += 1.0
        return {entry.name: entry for entry in self.health.entries(self.now_s)}


@pytest.mark.parametrize(
    ('changes', 'name', 'level', 'text'),
    [
        ({'state': State.STALE_IMAGE, 'reason': 'newest image is 0.6 s old'}, 'images',
         Level.ERROR, '0.6 s old'),
        ({'state': State.BAD_IMAGE, 'reason': 'frozen'}, 'images', Level.ERROR, 'frozen'),
        ({'state': State.WAITING_IMAGE, 'reason': 'none yet'}, 'images', Level.WARN, 'none yet'),
        ({'images_refused': 3}, 'images', Level.WARN, '3 images refused'),
        ({'image_age': 0.3}, 'images', Level.WARN, '0.30 s old'),
        ({'state': State.PLANNER_ERROR, 'reason': 'boom'}, 'planning', Level.ERROR, 'boom'),
        ({'state': State.BAD_PLAN, 'reason': 'NaN'}, 'planning', Level.ERROR, 'NaN'),
        ({'missed': 1}, 'commands', Level.OK, ''),
        ({'missed': 2}, 'commands', Level.ERROR, '2 control ticks missed'),
        ({'state': State.CONFLICT, 'reason': 'teleop publishes'}, 'commands', Level.ERROR,
         'teleop'),
        ({'state': State.STALLED, 'reason': 'no progress'}, 'controller', Level.WARN, 'STALLED'),
        ({'state': State.DISABLED, 'reason': 'by service'}, 'controller', Level.WARN, 'DISABLED'),
        ({'state': State.REACHED, 'reason': 'there'}, 'controller', Level.OK, 'REACHED'),
    ],
)  # fmt: skip
def test_one_second_of_a_fault(changes, name, level, text):
    planner = Planner()
    assert all(entry.level is Level.OK for entry in planner.second().values())
    entry = planner.second(**changes)[name]
    assert entry.level is level and text in entry.message


@pytest.mark.parametrize(
    ('changes', 'name', 'level', 'text'),
    [
        ({'solves_late': 8}, 'planning', Level.WARN, '8 of 10 solves were late'),
        ({'plan_age': 0.7}, 'planning', Level.WARN, '0.70 s old'),
        ({'execution': 'eager: capture failed: x'}, 'planning', Level.WARN, 'capture failed'),
        ({'jitter': 0.02}, 'commands', Level.WARN, 'jitter p99'),
        ({'clamped_box': 2}, 'commands', Level.WARN, 'outside the limits'),
        ({'prediction_error': 4.0}, 'model', Level.WARN, 'differ by 4.0'),
        ({'novelty': 1.4}, 'model', Level.WARN, 'novelty 1.40'),
    ],
)
def test_some_warnings_need_two_seconds(changes, name, level, text):
    planner = Planner()
    planner.second()
    counted = {key: value for key, value in changes.items() if key in ('solves_late',
                                                                     'clamped_box')}  # fmt: skip
    # A value that stays the same is seen in every tick but for those before the first change.
    first = planner.second(**changes)
    assert first[name].level is Level.OK
    planner.second(**{key: 2 * value for key, value in counted.items()})
    later = planner.second(**{key: 3 * value for key, value in counted.items()})
    assert later[name].level is level and text in later[name].message


def test_a_large_prediction_error_is_an_error_and_an_unknown_one_is_not():
    planner = Planner()
    planner.second(prediction_error=7.0)
    assert planner.second()['model'].level is Level.ERROR
    planner = Planner()
    planner.second(prediction_error=math.nan)
    assert planner.second()['model'].level is Level.OK


def test_without_ticks_an_active_node_is_in_error():
    health = Health(THRESHOLDS, PhaseRecorder(), 0.0)
    (entry,) = health.entries(1.0)
    assert (entry.name, entry.level) == ('controller', Level.ERROR)


def test_rates_and_latencies_are_shown():
    phases = PhaseRecorder()
    health = Health(THRESHOLDS, phases, 0.0)
    for _ in range(8):
        with phases('receive'), phases('plan'):
            pass
    health.tick(GOOD)
    entries = {entry.name: entry for entry in health.entries(2.0)}
    assert entries['images'].values['rate'] == '4.0 Hz'
    assert entries['planning'].values['plan median / p99 / max'].count('ms') == 3


def test_a_level_is_held_and_says_since_when_it_is_better():
    planner = Planner()
    planner.second(images_refused=1)
    held = planner.second()['images']
    assert held.level is Level.WARN and held.message == '1 images refused (1 s ago)'
    for _ in range(3):
        assert planner.second()['images'].level is Level.WARN
    assert planner.second()['images'].level is Level.OK


def test_an_error_goes_down_to_a_warning_that_is_still_there():
    levels = Hysteresis(HOLD)
    levels.update(Level.ERROR, 'broken', 0.0)
    assert levels.update(Level.WARN, 'limping', 4.0) == (Level.ERROR, 'broken (4 s ago)')
    assert levels.update(Level.WARN, 'limping', 5.0) == (Level.WARN, 'limping')
    assert levels.update(Level.ERROR, 'broken', 6.0) == (Level.ERROR, 'broken')


def test_a_warning_may_need_several_in_a_row_but_an_error_never():
    levels = Hysteresis(HOLD, warn_after=2)
    levels.update(Level.OK, 'fine', 0.0)
    assert levels.update(Level.WARN, 'late', 1.0) == (Level.OK, 'fine')
    levels.update(Level.OK, 'fine', 2.0)
    assert levels.update(Level.WARN, 'late', 3.0)[0] is Level.OK
    assert levels.update(Level.WARN, 'late', 4.0)[0] is Level.WARN
    assert Hysteresis(HOLD, warn_after=9).update(Level.ERROR, 'x', 0.0)[0] is Level.ERROR


def test_a_status_has_the_fields_of_the_message():
    _, fields = typestore().fielddefs[STATUS]
    assert {'header', *vars(GOOD)} == {name for name, _ in fields}
    assert GOOD.state is State.RUNNING and GOOD.plan_age == pytest.approx(0.1)
