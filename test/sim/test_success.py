"""The success monitor, on made-up positions."""

import math

import pytest

from grasp_ros.sim.success import (
    EpisodeResult,
    ReachMonitor,
    Rules,
    Successes,
    count_successes,
    episode_seeds,
)

RULES = Rules(budget=30, tolerance_px=5.0, stay_steps=10)


def watched(distances, rules=RULES):
    """Watch a robot at these distances from its goal; stops where the episode is decided."""
    monitor = ReachMonitor(7, True, [10.0, 20.0], rules)
    for distance in distances:
        if monitor.update([10.0 + distance, 20.0]):
            break
    return monitor


def test_arriving_and_staying_succeeds_with_the_steps_to_the_arrival():
    monitor = watched([20.0] * 8 + [4.0] * 30)
    assert monitor.ended
    assert monitor.step == 18
    assert monitor.result() == EpisodeResult(7, True, True, 8, 4.0)


def test_the_tolerance_itself_counts_as_there():
    assert watched([5.0] * 11).reached
    assert not watched([5.0001] * 31).reached


def test_passing_through_the_goal_is_not_reaching_it():
    monitor = watched([20.0] * 5 + [4.0] * 10 + [6.0] + [20.0] * 40)
    assert monitor.ended
    assert monitor.result() == EpisodeResult(7, False, True, 30, 20.0)


def test_the_stay_counts_from_the_last_arrival():
    result = watched([4.0] * 5 + [6.0] + [3.0] * 20).result()
    assert result.reached
    assert result.steps == 6


def test_arrival_and_stay_must_both_fit_the_budget():
    assert watched([20.0] * 20 + [1.0] * 40).reached
    late = watched([20.0] * 21 + [1.0] * 40)
    assert late.step == 30
    assert late.result() == EpisodeResult(7, False, True, 30, 1.0)


def test_nothing_changes_after_the_end():
    monitor = watched([4.0] * 11)
    assert monitor.update([60.0, 60.0])
    assert monitor.result() == EpisodeResult(7, True, True, 0, 4.0)


def test_an_interrupted_episode_has_not_reached_its_goal():
    assert watched([20.0, 4.0, 4.0]).result() == EpisodeResult(7, False, True, 2, 4.0)
    unseen = watched([]).result()
    assert (unseen.reached, unseen.steps) == (False, 0)
    assert math.isnan(unseen.final_distance_px)


def test_an_unknown_position_is_not_at_the_goal():
    assert not watched([math.nan] * 31).reached


def test_the_budget_follows_the_horizon():
    assert Rules.for_horizon(50).budget == 75
    assert Rules.for_horizon(25).budget == 38


def test_successes_are_counted_by_room():
    results = [
        EpisodeResult(0, True, True, 10, 1.0),
        EpisodeResult(1, True, False, 10, 1.0),
        EpisodeResult(2, False, True, 75, 9.0),
    ]
    assert count_successes(results) == {
        'all': Successes(2, 3),
        'through_door': Successes(1, 2),
        'same_room': Successes(1, 1),
    }


@pytest.mark.parametrize('first', [0, 1, 1000, 1001])
@pytest.mark.parametrize('count', range(1, 8))
def test_at_least_half_of_the_seeds_lead_through_the_door(first, count):
    seeds = episode_seeds(first, count)
    assert len(set(seeds)) == count
    assert seeds[0] == first or count == 1
    assert 2 * sum(seed % 2 == 0 for seed in seeds) >= count


@pytest.mark.parametrize(('first', 'count'), [(-1, 5), (0, 0), (0, -3)])
def test_impossible_seeds_are_refused(first, count):
    with pytest.raises(ValueError):
        episode_seeds(first, count)
