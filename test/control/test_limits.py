"""Limits: whatever comes in, what goes out is finite, in the box and not too sudden."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grasp_ros.control.limits import (
    Limits,
    NonFiniteCommandError,
    Setpoint,
    apply_limits,
    decay,
    longest_stop,
    project,
    stop_action,
)
from grasp_ros.control.types import Clamp
from grasp_ros.models.action_space import ActionKind, ActionSpace

SIZE = 3
ANY = arrays(np.float64, SIZE, elements=st.floats(allow_nan=False, allow_infinity=False))
MODERATE = arrays(np.float64, SIZE, elements=st.floats(-1e6, 1e6))
FAR = arrays(np.float64, SIZE, elements=st.floats(-1e12, 1e12))
WIDTHS = arrays(np.float64, SIZE, elements=st.floats(1e-3, 1e6))
RATES = arrays(
    np.float64, SIZE, elements=st.one_of(st.just(np.inf), st.just(0.0), st.floats(1e-3, 1e6))
)
ACCELERATIONS = arrays(
    np.float64, SIZE, elements=st.one_of(st.just(np.inf), st.just(0.0), st.floats(1e-3, 1e6))
)
PERIODS = st.one_of(st.just(0.0), st.floats(1e-3, 10.0))


def space(kind):
    ones = np.ones(SIZE)
    names = tuple('xyz')
    return ActionSpace(kind, names, ('m/s',) * SIZE, -ones, ones, 0 * ones, ones)


@st.composite
def limits_and_previous(draw):
    """Any limits, and a command inside the box, changing no faster than they allow."""
    low, width = draw(MODERATE), draw(WIDTHS)
    limits = Limits(low, low + width, draw(RATES), draw(ACCELERATIONS))
    if draw(st.booleans()):
        return limits, None
    value = np.clip(low + draw(st.floats(0, 1)) * width, limits.low, limits.high)
    reach = np.minimum(limits.rate, 1e6) * np.isfinite(limits.acceleration)
    # Fast, but not too fast to come to rest before the box ends.
    share = draw(arrays(np.float64, SIZE, elements=st.floats(-1, 1)))
    room = np.where(share > 0, limits.high - value, value - limits.low)
    acceleration = np.where(np.isfinite(limits.acceleration), limits.acceleration, 0.0)
    rate = share * np.minimum(reach, np.sqrt(2 * acceleration * np.maximum(room, 0)))
    return limits, Setpoint(value, rate)


def assert_within(limits, previous, setpoint, period):
    """Finite and in the box; rate and acceleration within their limits."""
    assert np.isfinite(setpoint.value).all()
    assert (setpoint.value >= limits.low).all()
    assert (setpoint.value <= limits.high).all()
    if previous is None:
        return
    change = setpoint.value - previous.value
    slack = 1e-9 * (1 + np.abs(previous.value) + np.abs(limits.high) + np.abs(limits.low))
    limited = np.isfinite(limits.rate)
    assert (np.abs(change) <= limits.rate * (period or 1e-30) + slack)[limited].all()
    limited = np.isfinite(limits.acceleration)
    turned = np.abs(change - previous.rate * period)
    assert (turned <= limits.acceleration * (period or 1e-30) ** 2 + slack)[limited].all()


@given(ANY, limits_and_previous(), PERIODS, st.booleans())
def test_any_action_becomes_a_permitted_one(action, given_limits, period, arrive):
    limits, previous = given_limits
    setpoint, clamped = apply_limits(action, previous, period, limits, arrive=arrive)
    assert_within(limits, previous, setpoint, period)
    changed = np.abs(setpoint.value - action) > 1e-5 * (1 + limits.high - limits.low)
    if changed.any():
        assert clamped
    if np.array_equal(setpoint.value, action):
        assert not clamped


@given(
    limits_and_previous(),
    st.lists(st.tuples(MODERATE, PERIODS, st.booleans()), min_size=2, max_size=10),
)
def test_any_sequence_becomes_a_permitted_one(given_limits, wanted):
    limits, previous = given_limits
    for action, period, arrive in wanted:
        setpoint, _ = apply_limits(action, previous, period, limits, arrive=arrive)
        assert_within(limits, previous, setpoint, period)
        previous = setpoint


@given(ANY, FAR, MODERATE, WIDTHS, RATES, ACCELERATIONS, PERIODS)
def test_the_box_holds_even_after_a_command_outside_of_it(
    action, previous, low, width, rate, acceleration, period
):
    limits = Limits(low, low + width, rate, acceleration)
    setpoint, _ = apply_limits(action, Setpoint.resting(previous), period, limits)
    assert np.isfinite(setpoint.value).all()
    assert (setpoint.value >= limits.low).all()
    assert (setpoint.value <= limits.high).all()


@pytest.mark.filterwarnings('error')
def test_two_commands_at_one_time_with_no_rate_limit():
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, np.inf))
    previous = Setpoint.resting(np.zeros(2))
    setpoint, clamped = apply_limits(np.array([0.5, -0.5]), previous, 0.0, limits)
    assert setpoint.value.tolist() == [0.5, -0.5]
    assert not clamped


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, SIZE - 1), MODERATE)
def test_a_command_that_is_not_finite_is_refused(value, at, action):
    action[at] = value
    limits = Limits(np.full(SIZE, -1.0), np.full(SIZE, 1.0), np.full(SIZE, np.inf))
    with pytest.raises(NonFiniteCommandError, match='not finite'):
        apply_limits(action, None, 0.1, limits)


def test_an_action_inside_the_limits_is_left_alone():
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, 2.0), np.full(2, 30.0))
    action = np.array([0.3, -0.1])
    previous = Setpoint.resting(np.array([0.2, 0.0]))
    setpoint, clamped = apply_limits(action, previous, 0.1, limits)
    assert setpoint.value.tolist() == action.tolist()
    assert not clamped


@pytest.mark.parametrize(
    ('action', 'expected', 'kind'),
    [
        ([0.05, 0.0], [0.05, 0.0], Clamp.NONE),
        ([0.05, -7.0], [0.05, -0.1], Clamp.BOX | Clamp.RATE | Clamp.ACCELERATION),
        ([0.15, 0.0], [0.1, 0.0], Clamp.ACCELERATION),
        ([0.9, 0.0], [0.1, 0.0], Clamp.RATE | Clamp.ACCELERATION),
    ],
)
def test_which_limit_changed_a_command(action, expected, kind):
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, 2.0), np.full(2, 10.0))
    setpoint, clamped = apply_limits(
        np.array(action), Setpoint.resting(np.zeros(2)), 0.1, limits
    )
    assert setpoint.value.tolist() == pytest.approx(expected)
    assert clamped == kind


def trace(limits, target):
    """Commands that arrive at a target, in one component, from rest at 0."""
    commands, setpoint = [0.0], Setpoint.resting(np.zeros(1))
    for _ in range(40):
        setpoint, _ = apply_limits(np.array([target]), setpoint, 0.1, limits, arrive=True)
        commands.append(float(setpoint.value[0]))
    return np.array(commands)


def one(low=-1.0, high=1.0, rate=np.inf, acceleration=np.inf):
    return Limits(*(np.array([value]) for value in (low, high, rate, acceleration)))


@pytest.mark.parametrize('arrive', [False, True])
@pytest.mark.parametrize('target', [1.0, 0.63, -0.4])
def test_a_target_is_approached_without_overshoot_and_kept(target, arrive):
    limits = one(rate=1.5, acceleration=4.0)
    if arrive:
        commands = trace(limits, target)
    else:
        start = Setpoint.resting(np.zeros(1))
        commands = project(np.full((41, 1), target), start, 0.1, limits)[:, 0]
    assert commands[-1] == target
    assert (commands[-10:] == target).all()
    assert np.abs(commands).max() <= abs(target) + 1e-12
    assert np.abs(np.diff(commands)).max() <= 0.15 + 1e-12
    assert np.abs(np.diff(commands, 2)).max() <= 0.04 + 1e-12


def test_the_planned_sequence_passes_unchanged_a_second_time():
    """What was projected before is executed as it was imagined."""
    rng = np.random.default_rng(0)
    limits = Limits(-np.ones(2), np.ones(2), np.full(2, 3.0), np.full(2, 20.0))
    start = Setpoint(np.array([0.1, -0.2]), np.array([0.5, 0.0]))
    projected = project(rng.uniform(-2, 2, (60, 2)), start, 0.1, limits)
    assert np.array_equal(project(projected, start, 0.1, limits), projected)


def test_no_commands_are_none():
    assert project(np.empty((0, 2)), None, 0.1, Limits(-np.ones(2), *np.ones((2, 2)))).size == 0


@given(
    st.sampled_from(list(ActionKind)),
    st.floats(0.1, 5.0), st.floats(0.1, 5.0), st.floats(0.1, 50.0), st.floats(0.1, 200.0),
    st.booleans(), st.booleans(), st.lists(st.floats(-6, 6), max_size=15), st.floats(0.01, 0.3),
)  # fmt: skip
def test_a_stop_takes_no_longer_than_is_said(
    kind, below, above, rate, acceleration, has_rate, has_acceleration, before, period
):
    limits = one(
        -below, above, rate if has_rate else np.inf, acceleration if has_acceleration else np.inf
    )
    setpoint = Setpoint.resting(np.zeros(1))
    for wanted in before:
        setpoint, _ = apply_limits(np.array([wanted]), setpoint, period, limits)
    most = longest_stop(single(kind), limits, period)
    took = 0
    while setpoint.rate.any() or setpoint.value != stop_action(single(kind), setpoint.value):
        stop = stop_action(single(kind), setpoint.value)
        setpoint, _ = apply_limits(stop, setpoint, period, limits, arrive=True)
        took += 1
        assert took * period <= most + period


def single(kind):
    ones = np.ones(1)
    return ActionSpace(kind, ('x',), ('m/s',), -ones, ones, 0 * ones, ones)


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
