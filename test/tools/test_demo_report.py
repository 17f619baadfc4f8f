"""The report of a demo from made-up figures."""

import json
import math

import pytest

from grasp_ros.bags.message_types import STATUS, make_message
from grasp_ros.sim.success import EpisodeResult
from grasp_ros.tools.demo.report import Setup, Timing, demo_report, percentile_ms, summary_table

SETUP = Setup('grasp', 50, 'cpu', 1)
RESULTS = [EpisodeResult(0, True, True, 33, 1.25), EpisodeResult(1, False, False, 75, 9.0)]


def test_the_report_has_every_field_and_is_json():
    timing = Timing([0.5, 0.07, 0.08, 0.09], [0.0, 0.001, 0.002], missed=3)
    report = json.loads(json.dumps(demo_report(RESULTS, timing, SETUP), allow_nan=False))
    assert report['episodes'][0] == {
        'seed': 0,
        'reached': True,
        'through_door': True,
        'steps': 33,
        'final_distance_px': 1.25,
        'group': 'through_door',
    }
    assert report['replan_ms'] == {'first': 500.0, 'p50': 80.0, 'p99': pytest.approx(89.8)}
    assert report['command_jitter_ms'] == {'p50': 1.0, 'p99': pytest.approx(1.98)}
    assert report['success']['all'] == {'reached': 1, 'episodes': 2}
    assert report['success']['through_door'] == {'reached': 1, 'episodes': 1}
    assert (report['missed'], report['horizon'], report['device']) == (3, 50, 'cpu')
    assert (report['torch_threads'], report['planner']) == (1, 'grasp')
    assert report['machine'] and report['versions']['python'] and report['versions']['torch']


def test_a_run_that_never_began_is_reported_as_unknown():
    unseen = EpisodeResult(4, False, True, 0, math.nan)
    report = demo_report([unseen], Timing(), SETUP)
    assert report['episodes'][0]['final_distance_px'] is None
    assert report['replan_ms'] == {'first': None, 'p50': None, 'p99': None}
    assert 'unknown' in summary_table(report)
    json.dumps(report, allow_nan=False)


def test_the_table_tells_episodes_and_times():
    table = summary_table(demo_report(RESULTS, Timing([0.5, 0.07]), SETUP))
    assert 'other room  yes         33    1.2 px' in table
    assert 'same room   NO          75    9.0 px' in table
    assert 'reached          1 of 2 (other room 1 of 1, same room 0 of 1)' in table
    assert 'first 500.0 ms, median 70.0 ms' in table


def test_percentiles_leave_out_what_is_unknown():
    assert percentile_ms([math.nan, 0.002], 50) == 2.0
    assert percentile_ms([math.nan], 50) is None


def test_a_new_solve_is_told_by_the_counter_of_plans_not_by_its_time():
    timing = Timing()
    for plans, solve_time in ((0, math.nan), (1, 0.03), (1, 0.03), (2, 0.03), (3, 0.05)):
        timing.add(make_message(STATUS, plans=plans, solve_time=solve_time, jitter=0.001, missed=2))
    assert timing.solve_times_s == [0.03, 0.03, 0.05]
    assert (len(timing.jitters_s), timing.missed) == (5, 2)
