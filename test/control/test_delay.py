"""The planning delay: is the estimate high enough, robust, bounded, and used by the controller?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ros.control.delay import DelayEstimator


def estimate(delays, **changes):
    settings = {'initial_s': 0.08, 'lowest_s': 0.01, 'highest_s': 1.0, **changes}
    estimator = DelayEstimator(**settings)
    for delay in delays:
        estimator.add(delay)
    return estimator.value_s


def test_before_anything_was_measured_it_is_the_configured_one():
    assert estimate([]) == 0.08


def test_the_first_solve_is_warm_up():
    assert estimate([0.9]) == 0.08
    assert estimate([0.9, 0.2]) == 0.2


def test_it_is_above_most_delays_and_below_rare_outliers():
    delays = np.random.default_rng(0).normal(0.1, 0.01, 60)
    delays[::15] = 0.8
    value = estimate(delays)
    assert np.quantile(delays, 0.8) <= value < 0.13


def test_it_follows_a_planner_that_becomes_slower_or_quicker():
    assert estimate([0.1] * 100 + [0.3] * 10) == 0.3
    assert estimate([0.3] * 100 + [0.1] * 50) == 0.1


@pytest.mark.parametrize('jump', [-5.0, float('nan'), float('inf'), -float('inf')])
def test_a_clock_that_jumped_is_no_measurement(jump):
    assert estimate([0.1, 0.1, jump]) == 0.1


@given(st.lists(st.floats(0, 1e6), max_size=80))
def test_it_is_bounded(delays):
    assert estimate(delays, initial_s=0.5) == pytest.approx(0.5, abs=0.5)
    assert estimate(delays) >= 0.01


def test_reset_forgets_and_warms_up_anew():
    estimator = DelayEstimator(0.08, 0.01, 1.0)
    for _ in range(5):
        estimator.add(0.5)
    estimator.reset()
    assert estimator.value_s == 0.08
    estimator.add(0.7)
    assert estimator.value_s == 0.08


def test_bounds_can_change_and_what_was_measured_stays():
    estimator = DelayEstimator(0.08, 0.01, 1.0)
    estimator.configure(0.2, 0.01, 0.3)
    assert estimator.value_s == 0.2
    for _ in range(3):
        estimator.add(0.5)
    assert estimator.value_s == 0.3
    estimator.configure(0.2, 0.01, 0.6)
    assert estimator.value_s == 0.5


def test_bounds_that_are_none_are_refused():
    with pytest.raises(ValueError, match='bounds'):
        DelayEstimator(0.1, 0.5, 0.4)
