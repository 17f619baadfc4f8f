"""The benchmark of latency compensation: does time pass as it says, and are its measures right?"""

from dataclasses import replace

import numpy as np
import pytest

from grasp_ros.benchmark.latency import Trial as LatencyTrial
from grasp_ros.benchmark.latency import markdown, paired, paired_markdown, run_trial, summarise
from grasp_ros.benchmark.slow_planning import OnArrival, overshoot
from harness.controller_rig import CONFIG, PERIOD, Rig
from harness.toy_models import picture

GOAL = np.array([1.0, 1.0])


@pytest.mark.parametrize(
    ('track', 'expected'),
    [
        ([0.5, 0.8, 0.95, 1.0, 1.0], 0.0),
        ([0.5, 0.8, 1.1, 1.3, 1.0], 0.3),
        ([0.9, 1.2, 1.0], 0.0),  # near from the start: there was no motion to arrive by
        ([0.1, 0.2, 0.3], None),
    ],
)
def test_overshoot_is_measured_along_the_arrival(track, expected):
    positions = np.stack([track, np.ones(len(track))], axis=1)
    found = overshoot(positions, GOAL)
    assert found == (None if expected is None else pytest.approx(expected))


def test_motion_across_the_arrival_is_no_overshoot():
    positions = np.array([[0.5, 1.0], [0.9, 1.0], [1.0, 1.0], [1.0, 1.2]])
    assert overshoot(positions, GOAL) == 0


@pytest.fixture(scope='module')
def entries():
    return [
        run_trial(LatencyTrial(compensation, 2.0, 3001))
        for compensation in ('none', 'times', 'estimated', 'estimated')
    ]


def test_slow_planning_makes_fewer_plans_and_is_noticed_by_the_estimate(entries):
    none, times, estimated, again = entries
    assert estimated == again, 'reproducible'
    assert estimated['reached']
    assert estimated['delay_s'] == pytest.approx(0.2, rel=0.3)
    assert none['delay_s'] == times['delay_s'] == 0
    assert (none['steps'], none['change']) != (times['steps'], times['change'])
    # One plan in two or three periods.
    assert estimated['plans'] <= estimated['steps'] / 2 + 8


def test_without_compensation_each_plan_is_executed_from_its_beginning():
    rig = Rig(replace(CONFIG, planning_delay=0.0))
    control = OnArrival(rig.controller)
    control.set_goal(picture(3.0, 0.0))
    rig.planner.gain = 0.1
    control.observe(picture(0.0, 0.0), rig.now)
    first = control.plan(rig.now).timed.commands
    for index in range(3):  # late, and with a gap: nobody looks at the time
        rig.now += (index + 1) * PERIOD
        control.observe(picture(0.0, 0.0), rig.now)
        np.testing.assert_array_equal(control.command(rig.now).action, first[index])
    control.observe(picture(1.0, 0.0), rig.now + 1)
    second = control.plan(rig.now + PERIOD).timed.commands
    assert second[0, 0] == pytest.approx(2 / 3 * first[0, 0]), 'from the picture as it is'
    np.testing.assert_array_equal(control.command(rig.now + PERIOD).action, second[0])


def entry(compensation, seed, steps, reached=True):
    return {'periods': 1.0, 'compensation': compensation, 'seed': seed,
            'reached': reached, 'precise': False, 'steps': steps, 'optimal_steps': 15.0,
            'change': 0.1, 'overshoot_cm': None, 'delay_s': 0.1}  # fmt: skip


def test_paired_differences_are_of_the_same_episodes():
    (row,) = paired([
        entry('none', 1, 20), entry('none', 2, 40), entry('none', 4, 90, reached=False),
        entry('estimated', 2, 37), entry('estimated', 1, 19), entry('estimated', 3, 90),
        entry('estimated', 4, 50),
    ])  # fmt: skip
    assert (row['steps'], row['steps_error']) == (-2, 1), 'of the two that both reached'
    assert row['pairs'] == 3
    assert row['change'] == 0
    assert row['overshoot_cm'] is None
    assert (row['reached'], row['reached_p'], row['precise']) == (1, 1.0, 0)
    line = '| 1 | estimated | +1 (1) | +0 (1) | -2.000 ± 1.000 | +0.000 ± 0.000 | - |'
    assert line in paired_markdown([row])


def test_the_summary_counts():
    (row,) = summarise([entry('times', 1, 20), entry('times', 2, 60, reached=False)])
    assert (row['reached'], row['episodes'], row['steps_over_optimum']) == (1, 2, 5.0)
    assert '| 1 | times | 1/2 | 0/2 | 5.0 | 0.100 | - | 0.10 |' in markdown([row])
