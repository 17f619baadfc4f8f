"""Which command is due, and which was or will be in force."""

import numpy as np
import pytest

from grasp_ros.control.timed_plan import CommandHistory, TimedPlan, commands_between

MS = 1_000_000
STOP = np.zeros(1)


def timed(start_ms=1000, commands=(10, 11, 12), period_ms=100):
    return TimedPlan(
        np.array(commands, np.float64)[:, None], start_ms * MS, period_ms * MS, start_ms * MS
    )


def recorded(*entries):
    history = CommandHistory()
    for time_ms, value in entries:
        history.record(time_ms * MS, np.array([float(value)]))
    return history


def between(start_ms, count, now_ms, history, *plans):
    commands = commands_between(start_ms * MS, count, 100 * MS, now_ms * MS, history, plans, STOP)
    assert commands.shape == (count, 1)
    return commands[:, 0].tolist()


@pytest.mark.parametrize(
    ('offset_ns', 'index'),
    [
        (0, 0), (1, 0), (-1, 0),
        (50 * MS - 1, 0), (50 * MS, 1), (50 * MS + 1, 1),
        (-50 * MS, 0), (-50 * MS - 1, -1),
        (250 * MS - 1, 2), (250 * MS, 3), (-1000 * MS, -10),
    ],
)  # fmt: skip
def test_a_plan_gives_the_command_nearest_in_time(offset_ns, index):
    plan = timed()
    assert plan.index(1000 * MS + offset_ns) == index
    found = plan.at(1000 * MS + offset_ns)
    if 0 <= index < 3:
        assert found.tolist() == [10 + index]
    else:
        assert found is None


def test_half_periods_of_an_odd_number_of_nanoseconds():
    plan = TimedPlan(np.zeros((4, 1)), 0, 3, 0)
    assert [plan.index(now) for now in range(-2, 8)] == [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_command_is_in_force_until_the_next_one():
    plan = timed()
    assert plan.in_force(1000 * MS - 1) is None
    assert plan.in_force(1000 * MS).tolist() == [10]
    assert plan.in_force(1100 * MS - 1).tolist() == [10]
    assert plan.in_force(1100 * MS).tolist() == [11]
    assert plan.in_force(1300 * MS) is None


def test_history_knows_what_was_in_force():
    history = recorded((1000, 1), (1100, 2))
    assert history.in_force(999 * MS) is None
    assert history.in_force(1000 * MS).tolist() == [1]
    assert history.in_force(1099 * MS).tolist() == [1]
    assert history.in_force(9000 * MS).tolist() == [2]
    assert history.last.tolist() == [2]
    history.clear()
    assert history.last is None
    assert history.in_force(1000 * MS) is None


def test_what_was_recorded_before_time_jumped_back_is_never_in_force_again():
    history = recorded((1000, 1), (1100, 2), (9000, 3), (9100, 4), (1050, 5))
    assert history.in_force(1040 * MS).tolist() == [1]
    assert history.in_force(1200 * MS).tolist() == [5]
    assert history.in_force(9500 * MS).tolist() == [5]


def test_history_is_bounded():
    history = recorded(*((index, index) for index in range(1000)))
    assert history.in_force(500 * MS) is None
    assert history.in_force(990 * MS).tolist() == [990]


def test_past_commands_come_from_the_history_and_coming_ones_from_the_plan():
    history = recorded((800, 1), (900, 2), (1000, 3))
    found = between(700, 6, 1000, history, timed(start_ms=1000, commands=(20, 21, 22)))
    assert found == [0, 1, 2, 3, 21, 22]


def test_what_was_published_counts_even_where_the_plan_said_otherwise():
    """The last gate may have changed it; it is in force until the next tick."""
    history = recorded((1000, 3))
    assert between(1000, 2, 1030, history, timed(commands=(20, 21))) == [3, 21]


def test_an_older_plan_acts_until_a_newer_one_is_due():
    newer, older = timed(1200, (30, 31, 32)), timed(1000, (20, 21, 22, 23, 24, 25, 26))
    history = recorded((1000, 3))
    assert between(1000, 6, 1030, history, newer, older) == [3, 21, 30, 31, 32, 0]


def test_without_a_plan_the_robot_stops_at_the_next_tick():
    assert between(1000, 3, 1030, recorded((1000, 3))) == [3, 0, 0]
    assert between(1000, 3, 1030, recorded()) == [0, 0, 0]


def test_after_its_plan_the_robot_stands():
    assert between(1000, 4, 1000, recorded((1000, 20)), timed(commands=(20, 21))) == [20, 21, 0, 0]


def test_nothing_is_nothing():
    assert commands_between(0, 0, 100, 0, recorded(), (), np.zeros(3)).shape == (0, 3)
