"""The soak: its verdict on made-up runs, the faster copy of a model, and a short real run."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from grasp_ros.models.checkpoint import find_model, load_model
from system.soak.faster import write_faster
from system.soak.report import (
    Conditions,
    Samples,
    checks,
    memory_growth,
    save_plot,
    soak_report,
    summary,
)

MIB = 2**20
FULL = Conditions(duration_s=100.0, warm_up_s=20.0, control_rate=20.0, short=False, cores=2)
SHORT = Conditions(duration_s=100.0, warm_up_s=20.0, control_rate=20.0, short=True, cores=2)


def good_run():
    times = np.arange(0.0, 100.0, 0.05)
    return Samples(
        memory=[(float(second), 400 * MIB) for second in range(100)],
        ticks=[(float(time_s), 0.002, 0) for time_s in times],
        arrivals=[(float(time_s), 0.003) for time_s in times],
        solve_times_s=[0.1, 0.03, 0.03],
        episodes=3,
        reached=2,
    )


def failing(samples, conditions=FULL):
    return [check.name for check in checks(samples, conditions) if not check.ok]


def test_a_good_run_holds():
    assert failing(good_run()) == []
    assert soak_report(good_run(), FULL)['holds']


def test_growing_memory_does_not():
    run = good_run()
    run.memory = [(float(second), (400 + second // 10) * MIB) for second in range(100)]
    assert failing(run) == ['memory growth']
    assert failing(run, SHORT) == []
    run.memory = [(float(second), (400 + second) * MIB) for second in range(100)]
    assert failing(run, SHORT) == ['memory growth']


def test_memory_of_the_warm_up_does_not_count():
    memory = [(0.0, 100 * MIB), (19.0, 200 * MIB), (20.0, 400 * MIB), (99.0, 402 * MIB)]
    assert memory_growth(memory, 20.0) == pytest.approx(0.005)
    assert math.isnan(memory_growth(memory[:3], 20.0))


def test_missed_deadlines_after_the_warm_up_do_not_hold():
    run = good_run()
    run.ticks = [(time_s, late, 5 if time_s > 10 else 0) for time_s, late, _ in run.ticks]
    assert failing(run) == []
    run.ticks = [(time_s, late, 5 + 2 * (time_s > 50)) for time_s, late, _ in run.ticks]
    assert failing(run) == ['missed deadlines']
    assert failing(run, SHORT) == []


def test_jitter_at_its_99th_percentile_counts():
    run = good_run()
    ticks = run.ticks
    run.ticks = [(t, 0.2 if index % 200 == 0 else late, 0) for index, (t, late, _)
                 in enumerate(ticks)]  # fmt: skip
    assert failing(run) == []
    run.ticks = [(t, 0.011 if index % 50 == 0 else late, 0) for index, (t, late, _)
                 in enumerate(ticks)]  # fmt: skip
    assert failing(run) == ['jitter p99 in the planner']


def test_crashes_bad_commands_and_silence_do_not_hold():
    run = good_run()
    run.crash, run.bad_commands = 'planner ended by SIGSEGV.', ['3.00 s: [nan, 0.0]']
    run.arrivals = []
    assert failing(run, SHORT) == [
        'crashes', 'commands outside limits or not finite', 'no command',
    ]  # fmt: skip


def test_a_run_that_saw_nothing_does_not_hold_and_can_be_written(tmp_path):
    report = soak_report(Samples(), FULL)
    assert not report['holds']
    json.dumps(report, allow_nan=False)
    assert 'FAILS' in summary(report)
    save_plot(tmp_path / 'soak.png', Samples(), FULL)
    save_plot(tmp_path / 'soak.png', good_run(), FULL)
    assert (tmp_path / 'soak.png').stat().st_size > 1000


def test_a_flooded_run_says_how_many_pictures_were_decoded(tmp_path):
    soak = pytest.importorskip('system.soak.command')
    events = [{'ph': 'M', 'name': 'process_name'}]
    for name, count, dur in (('receive', 90, 50), ('decode', 20, 900), ('plan', 20, 30_000)):
        events += [{'ph': 'X', 'name': name, 'dur': dur}] * count
    (tmp_path / 'trace.json').write_text(json.dumps(events))
    run = good_run()
    run.phases_ms = soak.durations(tmp_path / 'trace.json')
    report = soak_report(run, replace(FULL, flood_hz=90.0))
    assert (report['images']['received'], report['images']['decoded']) == (90, 20)
    assert report['images']['decode_ms']['p99'] == 0.9
    assert '90 received, 20 decoded' in summary(report)
    assert soak_report(good_run(), FULL)['images'] is None


def test_a_faster_copy_moves_as_far_in_a_step(tmp_path):
    source = find_model('two_room')
    write_faster(source, tmp_path, 20.0)
    (_, before), (_, after) = load_model(source), load_model(tmp_path)
    assert after.control_rate == pytest.approx(20.0)
    normal = np.array([[0.3, -1.2]])
    motion = [
        manifest.model_dt * manifest.action_space.denormalise(normal)
        for manifest in (before, after)
    ]
    np.testing.assert_allclose(*motion)
    np.testing.assert_allclose(
        after.model_dt * after.action_space.high, before.model_dt * before.action_space.high
    )


@pytest.mark.ros
@pytest.mark.slow
def test_a_short_soak_crashes_nothing(tmp_path):
    ros_harness = pytest.importorskip('ros_harness')
    done = subprocess.run(
        [sys.executable, '-m', 'system.soak.command', '--duration', '25', '--short',
         '--output', str(tmp_path)],
        env={**os.environ, 'ROS_DOMAIN_ID': str(ros_harness.DOMAIN)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    report = json.loads((tmp_path / 'report.json').read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert report['holds'] and report['seconds'] > 20 and report['goals_reached'] > 0
    assert (tmp_path / 'soak.png').is_file()
