"""The last gate: for any plan, history, parameters and ticks, what is published is permitted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ros.control.command_limiter import CommandLimiter
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits, NonFiniteCommandError
from grasp_ros.control.types import State
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import LoadedModel
from grasp_ros.planning.objective import goal_distance
from grasp_ros.planning.problem import Plan
from harness.toy_models import LinearModel, picture, preprocess

MS = 1_000_000
PERIOD = 100 * MS
START = 1000 * PERIOD
LIMIT = st.one_of(st.just(np.inf), st.floats(0.5, 100.0))


def space(kind=ActionKind.VELOCITY, skip=1):
    ones = np.ones(2)
    return ActionSpace(kind, ('x', 'y'), ('m/s',) * 2, -ones, ones, 0 * ones, ones, skip)


def limits(rate=np.inf, acceleration=np.inf):
    return Limits(-np.ones(2), np.ones(2), np.full(2, rate), np.full(2, acceleration))


def gate(kind=ActionKind.VELOCITY, rate=np.inf, acceleration=np.inf, stop_decay=0.0, **kwargs):
    return CommandLimiter(space(kind), limits(rate, acceleration), PERIOD, stop_decay,
                kwargs.get('dry_run', False))  # fmt: skip


def assert_permitted(published, limits, kind):
    """Check commands [(time_ns, action)]: finite, in the box, and changing within the limits.

    Between two ticks counts a period, unless they come more than a period ahead of time.
    """
    zero = np.zeros(2)
    last, rate = None if kind is ActionKind.POSITION else zero, zero
    # The first command may change by a period's worth whenever it comes.
    last_ns, saved_ns = (published[0][0] if published else START) - 2 * PERIOD, 0
    for time_ns, action in published:
        assert np.isfinite(action).all()
        assert (limits.low <= action).all() and (action <= limits.high).all()
        saved_ns = min(saved_ns + max(time_ns - last_ns, 0), 2 * PERIOD)
        seconds = min(saved_ns, PERIOD) / 1e9
        saved_ns -= round(seconds * 1e9)
        if last is not None:
            change = action - last
            curbed = np.isfinite(limits.rate)
            assert (np.abs(change) <= limits.rate * (seconds or 1e-30) + 1e-7)[curbed].all()
            curbed = np.isfinite(limits.acceleration)
            most = limits.acceleration * (seconds or 1e-30) ** 2
            assert (np.abs(change - rate * seconds) <= most + 1e-7)[curbed].all()
            rate = change / seconds if seconds else rate
        last_ns, last = time_ns, action


ANY = st.lists(st.floats(width=32), min_size=2, max_size=2).map(np.array)
TICKS = st.sampled_from([0, 1, 20 * MS, 49 * MS, 50 * MS, 99 * MS, PERIOD, 130 * MS, 10 * PERIOD])


@given(
    st.sampled_from(list(ActionKind)), LIMIT, LIMIT, st.sampled_from([0.0, 0.3]),
    st.lists(st.tuples(st.one_of(ANY, st.none()), TICKS), max_size=20),
)  # fmt: skip
def test_any_actions_and_stops_at_any_times(kind, rate, acceleration, stop_decay, wanted):
    under_test = gate(kind, rate, acceleration, stop_decay)
    now, published = START, []
    for action, wait in wanted:
        now += wait
        if action is not None and np.isfinite(action).all():
            published.append((now, under_test.command(action, now)[0]))
            continue
        if action is not None:
            with pytest.raises(NonFiniteCommandError):
                under_test.command(action, now)
        stopping, _ = under_test.stop(now)
        if stopping is not None:
            published.append((now, stopping))
    for number, action in enumerate(under_test.halt(now + PERIOD)):
        published.append((now + PERIOD * (1 + number), action))
    assert_permitted(published, limits(rate, acceleration), kind)
    if published and kind is not ActionKind.POSITION:
        assert published[-1][1].tolist() == [0, 0]


class CarelessPlanner:
    """Gives plans that a test dictates, whatever the bounds."""

    def __init__(self, model, plans):
        self.distance = goal_distance(model, 'latent')
        self._plans = iter(plans)

    def prepare(self, problem):
        pass

    def plan(self, problem, init=None, *, generator, deadline_s=None):
        rows = np.array(next(self._plans))[:, None].repeat(problem.action_low.shape[0], axis=1)
        actions = torch.from_numpy(rows)[None]
        states = torch.zeros(1, len(rows), 2, dtype=torch.float64)
        zero = torch.zeros(1, dtype=torch.float64)
        return Plan(actions, states, states, zero, zero, 1, 0.0)


EVENTS = st.sampled_from(
    ['nothing', 'see', 'plan', 'plan', 'plan', 'goal', 'disable', 'enable', 'back', 'far back']
)


@settings(max_examples=100)
@given(
    st.sampled_from(list(ActionKind)), st.sampled_from([1, 2]), LIMIT, LIMIT,
    st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([0.0, 0.3]),
    st.lists(st.tuples(EVENTS, TICKS), min_size=5, max_size=40),
    st.lists(
        st.lists(
            st.one_of(st.floats(-1, 1), st.floats(width=32)), min_size=1, max_size=6
        ),
        min_size=41, max_size=41,
    ),
)  # fmt: skip
def test_any_plans_and_histories(kind, skip, rate, acceleration, delay, stop_decay, events, plans):
    identity = torch.eye(2, dtype=torch.float64)
    model = LinearModel(control=torch.cat([identity] * skip, dim=1))
    config = ControllerConfig(
        model_dt=0.1 * skip, planning_delay=delay, stop_decay=stop_decay, horizon=6
    )
    controller = Controller(
        LoadedModel(model, preprocess, space(kind, skip)), CarelessPlanner(model, plans),
        limits(rate, acceleration), config,
    )  # fmt: skip
    now, published, goals = START, [], 0
    newest, jumped = now, False
    controller.set_goal(picture(9.0, 9.0))
    controller.observe(picture(0.0, 0.0), now)
    controller.plan(now)
    for event, wait in events:
        now += wait - {'back': 30 * MS, 'far back': 10**9}.get(event, 0)
        if event in ('see', 'plan'):
            controller.observe(picture(0.0, 0.0), now)
        if event == 'plan':
            controller.plan(now)
        if event == 'goal':
            goals += 1
            controller.set_goal(picture(9.0, float(goals)))
        if event in ('disable', 'enable'):
            controller.enable(event == 'enable')
        command = controller.command(now)
        assert command.state is not State.PLANNER_ERROR, command.reason
        if command.action is not None:
            published.append((now, command.action))
        newest = max(newest, now)
        jumped |= newest - now >= config.image_timeout * 1e9
    for number, command in enumerate(controller.halt(now + PERIOD)):
        published.append((now + PERIOD * (1 + number), command.action))
    for _, action in published:
        assert np.isfinite(action).all()
        assert (np.abs(action) <= 1).all()
    if not jumped:  # else the controller began anew
        assert_permitted(published, limits(rate, acceleration), kind)


def commands(under_test, *wanted):
    return [under_test.command(np.array(action), START + number * PERIOD)[0].tolist()
            for number, action in enumerate(wanted)]  # fmt: skip


def test_jitter_of_ticks_does_not_clamp_a_permitted_sequence():
    under_test = gate(rate=2.0)
    for number, late in enumerate([0, 8 * MS, -5 * MS, 0, 99 * MS, 0]):
        wanted = np.full(2, min(0.2 * (number + 1), 1.0))
        value, clamped = under_test.command(wanted, START + number * PERIOD + late)
        assert value == pytest.approx(wanted)
        assert not clamped
    assert under_test.clamps.total == 0


def test_a_burst_of_ticks_changes_no_more_than_its_time_allows():
    under_test = gate(rate=2.0)
    burst = [under_test.command(np.ones(2), START + number * MS)[0][0] for number in range(5)]
    assert burst == pytest.approx([0.2, 0.4, 0.402, 0.404, 0.406], abs=0.003)


def test_what_was_changed_is_counted_by_kind():
    under_test = gate(rate=2.0, acceleration=10.0)
    commands(under_test, [0.05, 0.0], [5.0, 0.0], [0.25, 0.0])
    counts = under_test.clamps
    assert (counts.total, counts.box, counts.rate, counts.acceleration) == (1, 1, 1, 1)
    under_test.reset()
    assert under_test.clamps.total == 0


def test_without_limits_it_halts_at_once():
    under_test = gate()
    commands(under_test, [1.0, -1.0])
    assert [action.tolist() for action in under_test.halt(START + PERIOD)] == [[0, 0]]


def test_before_any_command_there_is_nothing_to_halt():
    assert not list(gate().halt(START))
    dry = gate(dry_run=True)
    commands(dry, [1.0, -1.0])
    assert not list(dry.halt(START))


def test_with_limits_it_halts_by_decelerating():
    under_test = gate(rate=4.0)
    commands(under_test, [0.4, 0.1], [0.8, 0.1], [1.0, 0.1])
    halted = np.array(list(under_test.halt(START + 3 * PERIOD)))
    assert halted[:, 0] == pytest.approx([0.6, 0.2, 0.0])
    assert halted[:, 1] == pytest.approx([0.0, 0.0, 0.0])


def test_a_position_comes_to_rest_and_never_turns_back():
    under_test = gate(ActionKind.POSITION, acceleration=10.0)
    commands(under_test, [0.0, 0.0], [0.1, 0.0], [0.3, 0.0])
    halted = np.array(list(under_test.halt(START + 3 * PERIOD)))[:, 0]
    assert halted == pytest.approx([0.4, 0.4])


def test_a_stop_with_limits_is_reached_and_kept_in_every_state():
    under_test = gate(rate=5.0, acceleration=20.0, stop_decay=0.2)
    now = START
    for _ in range(12):
        now += PERIOD
        under_test.command(np.ones(2), now)
    stopped = []
    for _ in range(12):
        now += PERIOD
        stopped.append(under_test.stop(now)[0][0])
    assert stopped[-4:] == [0, 0, 0, 0]
    assert (np.diff(stopped) <= 1e-12).all()


@pytest.mark.parametrize('acceleration', [np.inf, 12.0])
def test_what_is_executed_is_what_was_imagined(acceleration):
    model = LinearModel()
    plans = [[1.0, 1.0, -1.0, 0.3, -0.7, 0.0, 0.0, 0.0]]
    config = ControllerConfig(planning_delay=0.1, max_plan_age=5.0, image_timeout=5.0)
    bounds = limits(rate=4.0, acceleration=acceleration)
    loaded = LoadedModel(model, preprocess, space())
    controller = Controller(loaded, CarelessPlanner(model, plans), bounds, config)
    controller.set_goal(picture(9.0, 9.0))
    controller.observe(picture(0.0, 0.0), START)
    report = controller.plan(START)
    executed = []
    for number in range(1, 9):
        command = controller.command(START + number * PERIOD)
        assert command.state is State.RUNNING
        assert not command.clamped
        executed.append(command.action)
    assert np.array_equal(np.stack(executed), report.timed.commands)
    positions = np.cumsum(report.timed.commands, axis=0)
    assert report.plan.rollout[0].numpy() == pytest.approx(positions)
