"""The last gate: whatever comes in, what goes out is finite, in the box and not too sudden."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grasp_ros.core.limits import (
    Limits,
    NonFiniteCommandError,
    apply_limits,
    decay,
    stop_action,
)
from grasp_ros.core.types import ActionKind, ActionSpace

SIZE = 3
ANY = arrays(np.float64, SIZE, elements=st.floats(allow_nan=False, allow_infinity=False))
MODERATE = arrays(np.float64, SIZE, elements=st.floats(-1e6, 1e6))
WIDTHS = arrays(np.float64, SIZE, elements=st.floats(1e-3, 1e6))
RATES = arrays(
    np.float64, SIZE, elements=st.one_of(st.just(np.inf), st.just(0.0), st.floats(1e-3, 1e6))
)
PERIODS = st.one_of(st.just(0.0), st.floats(1e-3, 10.0))


def space(kind):
    ones = np.ones(SIZE)
    names = tuple('xyz')
    return ActionSpace(kind, names, ('m/s',) * SIZE, -ones, ones, 0 * ones, ones)


@given(ANY, MODERATE, WIDTHS, st.floats(0, 1), st.booleans(), RATES, PERIODS)
def test_any_action_becomes_a_permitted_one(action, low, width, where, first, rate, period):
    limits = Limits(low, low + width, rate)
    previous = None if first else np.clip(low + where * width, limits.low, limits.high)
    limited, clamped = apply_limits(action, previous, period, limits)
    assert np.isfinite(limited).all()
    assert (limited >= limits.low).all()
    assert (limited <= limits.high).all()
    if previous is not None:
        slack = 1e-9 * (1 + np.abs(previous))
        unlimited = np.isinf(rate)
        allowed = np.where(unlimited, np.inf, np.where(unlimited, 0, rate) * period + slack)
        assert (np.abs(limited - previous) <= allowed).all()
    changed = np.abs(limited - action) > 1e-5 * (1 + width)
    if changed.any():
        assert clamped
    if np.array_equal(limited, action):
        assert not clamped


@given(ANY, ANY, MODERATE, WIDTHS, RATES, PERIODS)
def test_the_box_holds_even_after_a_command_outside_of_it(
    action, previous, low, width, rate, period
):
    limits = Limits(low, low + width, rate)
    limited, _ = apply_limits(action, previous, period, limits)
    assert np.isfinite(limited).all()
    assert (limited >= limits.low).all()
    assert (limited <= limits.high).all()


@pytest.mark.filterwarnings('error')
def test_two_commands_at_one_time_with_no_rate_limit():
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, np.inf))
    limited, clamped = apply_limits(np.array([0.5, -0.5]), np.zeros(2), 0.0, limits)
    assert limited.tolist() == [0.5, -0.5]
    assert not clamped


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, SIZE - 1), MODERATE)
def test_a_command_that_is_not_finite_is_refused(value, at, action):
    action[at] = value
    limits = Limits(np.full(SIZE, -1.0), np.full(SIZE, 1.0), np.full(SIZE, np.inf))
    with pytest.raises(NonFiniteCommandError, match='not finite'):
        apply_limits(action, None, 0.1, limits)


def test_an_action_inside_the_limits_is_left_alone():
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, 2.0))
    action = np.array([0.3, -0.1])
    limited, clamped = apply_limits(action, np.array([0.2, 0.0]), 0.1, limits)
    assert limited.tolist() == action.tolist()
    assert not clamped
    limited, clamped = apply_limits(action, np.zeros(2), 0.1, limits)
    assert limited.tolist() == pytest.approx([0.2, -0.1])
    assert clamped


@pytest.mark.parametrize('kind', list(ActionKind))
def test_before_any_command_there_is_nothing_to_stop(kind):
    assert stop_action(space(kind), None) is None


@pytest.mark.parametrize('kind', list(ActionKind))
def test_the_stop_follows_from_the_kind(kind):
    last = np.array([0.5, -0.2, 0.1])
    stop = stop_action(space(kind), last)
    expected = last if kind is ActionKind.POSITION else np.zeros(SIZE)
    assert stop.tolist() == expected.tolist()


@given(MODERATE, MODERATE, st.floats(-5, 10), st.floats(0, 5))
def test_decay_goes_from_the_last_command_to_the_stop(last, stop, elapsed, duration):
    value = decay(last, stop, elapsed, duration)
    assert np.isfinite(value).all()
    slack = 1e-9 * (1 + np.abs(last) + np.abs(stop))
    assert (value >= np.minimum(last, stop) - slack).all()
    assert (value <= np.maximum(last, stop) + slack).all()
    if elapsed >= duration or duration == 0:
        assert np.array_equal(value, stop)
    elif elapsed <= 0:
        assert np.allclose(value, last)


@given(MODERATE, MODERATE, st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1))
def test_decay_never_turns_back(last, stop, duration, first, second):
    assume(first <= second)
    early = decay(last, stop, first * duration, duration)
    late = decay(last, stop, second * duration, duration)
    slack = 1e-9 * (1 + np.abs(last) + np.abs(stop))
    assert (np.abs(late - stop) <= np.abs(early - stop) + slack).all()
