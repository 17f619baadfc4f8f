"""Punctuality of control ticks, with times handed in."""

import pytest

from grasp_ros.node.status_publisher import TickMonitor

MS = 1_000_000
PERIOD = 50 * MS


def ticks_at(*times_ms):
    monitor = TickMonitor(PERIOD, 1000 * MS)
    return monitor, [monitor.tick((1000 + round(time_ms)) * MS) for time_ms in times_ms]


def test_lateness_is_measured_from_the_schedule():
    monitor, late = ticks_at(50, 103, 170, 200)
    assert late == pytest.approx([0.0, 0.003, 0.020, 0.0])
    assert monitor.missed == 0


def test_later_than_half_a_period_is_missed_and_the_schedule_stays():
    monitor, late = ticks_at(50, 140, 150, 200)
    assert late == pytest.approx([0.0, 0.040, 0.0, 0.0])
    assert monitor.missed == 1


def test_ticks_that_never_come_are_missed():
    monitor, _ = ticks_at(50, 100, 250)
    assert monitor.missed == 2


def test_a_late_first_tick_does_not_hide_that_it_was_late():
    monitor, late = ticks_at(80, 100)
    assert late[0] == pytest.approx(0.030)
    assert monitor.missed == 1


def test_time_that_jumps_back_misses_nothing():
    monitor, _ = ticks_at(500, 550)
    missed = monitor.missed
    monitor.tick(1050 * MS)
    monitor.tick(1100 * MS)
    assert monitor.missed == missed
