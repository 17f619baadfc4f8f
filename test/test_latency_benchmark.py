"""The benchmark of latency compensation: does time pass as it says, and are its measures right?"""

import numpy as np
import pytest

from grasp_ros.benchmark.latency import Trial as LatencyTrial
from grasp_ros.benchmark.latency import markdown, paired, run_trial, summarise
from grasp_ros.benchmark.slow_planning import overshoot
from grasp_ros.models.checkpoint import find_model

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
    model = str(find_model('two_room'))
    return [
        run_trial(LatencyTrial(compensation, 2.0, model, 3001))
        for compensation in ('off', 'estimated', 'estimated')
    ]


def test_slow_planning_makes_fewer_plans_and_is_noticed_by_the_estimate(entries):
    off, estimated, again = entries
    assert estimated == again, 'reproducible'
    assert estimated['reached']
    assert estimated['delay_s'] == pytest.approx(0.2, rel=0.3)
    assert off['delay_s'] == 0
    # One plan in two or three periods.
    assert estimated['plans'] <= estimated['steps'] / 2 + 8


def test_paired_differences_are_of_the_same_episodes():
    def entry(compensation, seed, steps):
        return {'periods': 1.0, 'compensation': compensation, 'seed': seed, 'reached': True,
                'steps': steps, 'change': 0.1, 'overshoot_m': None}  # fmt: skip

    rows = paired([entry('off', 1, 20), entry('off', 2, 40), entry('estimated', 2, 37),
                   entry('estimated', 1, 19), entry('estimated', 3, 90)])  # fmt: skip
    steps, change = rows
    assert (steps['measure'], steps['episodes']) == ('steps', 2)
    assert steps['difference'] == -2
    assert steps['standard_error'] == 1
    assert change['difference'] == 0


def test_the_summary_counts(entries):
    rows = summarise([{**entries[1], 'seed': 1}, {**entries[1], 'seed': 2, 'reached': False}])
    (row,) = rows
    assert (row['reached'], row['episodes']) == (1, 2)
    assert f'| 2 | estimated | 1/2 | {row["steps_over_optimum"]:.1f} |' in markdown(rows)
