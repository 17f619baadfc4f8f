"""The pairing rule on recordings whose lags, gaps, jitter and rates are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ros.models.action_space import ActionKind
from grasp_ros.training.data.pairing import PairingRule, pair

START_NS = 1_700_000_000_000_000_000


def stamps(seconds):
    return START_NS + np.rint(np.asarray(seconds) * 1e9).astype(np.int64)


def rule(kind=ActionKind.VELOCITY, model_dt=0.1, **options):
    return PairingRule(kind, model_dt, **options)


def paired(images, times, commands, given_rule):
    values = np.asarray(commands, float).reshape(len(times), -1)
    return pair(stamps(images), stamps(times), values, given_rule)


def the_one(episodes):
    assert len(episodes) == 1
    return episodes[0].frames.tolist(), episodes[0].commands[..., 0].round(6).tolist()


# Frames.


def test_every_image_is_a_frame_where_the_rates_agree():
    frames, commands = the_one(paired([0, 0.1, 0.2, 0.3], [0, 0.1, 0.2], [1, 2, 3], rule()))
    assert frames == [0, 1, 2, 3]
    assert commands == [[1], [2], [3]]


def test_of_a_faster_camera_the_nearest_images_are_taken():
    images = np.arange(31) / 30
    frames, _ = the_one(paired(images, [0], [1], rule()))
    assert frames == list(range(0, 31, 3))


def test_a_rate_that_is_slightly_off_does_not_add_up():
    images = np.arange(200) * 0.103
    frames, _ = the_one(paired(images, [0], [1], rule()))
    assert frames == list(range(200))


def test_a_missing_frame_ends_the_episode():
    images = [0, 0.1, 0.2, 0.4, 0.5]
    episodes = paired(images, [0, 0.2, 0.4], [1, 2, 3], rule())
    assert [episode.frames.tolist() for episode in episodes] == [[0, 1, 2], [3, 4]]
    assert [episode.commands.ravel().tolist() for episode in episodes] == [[1, 1], [3]]


def test_single_frames_are_left_out():
    assert paired([0, 0.3, 0.6], [0], [1], rule()) == []


def test_frames_before_the_first_command_are_left_out():
    frames, commands = the_one(paired([0, 0.1, 0.2, 0.3], [0.15], [1], rule()))
    assert (frames, commands) == ([2, 3], [[1]])


def test_a_command_at_the_moment_of_the_first_frame_counts():
    frames, _ = the_one(paired([0.3, 0.4], [0.3], [1], rule()))
    assert frames == [0, 1]


def test_long_episodes_are_cut():
    episodes = paired(np.arange(8) / 10, [0], [1], rule(longest=3))
    assert [episode.frames.tolist() for episode in episodes] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7]]


@given(
    seed=st.integers(0, 10**6), jitter=st.floats(0, 0.012), dropped=st.floats(0, 0.3)
)
@settings(deadline=None, max_examples=60)
def test_with_jitter_and_dropped_frames_every_step_lasts_about_a_model_step(seed, jitter, dropped):
    rng = np.random.default_rng(seed)
    ideal = np.arange(100) / 10
    images = (ideal + rng.uniform(-jitter, jitter, 100))[rng.random(100) >= dropped]
    episodes = paired(images, [-1.0], [1], rule(timeout_s=np.inf))
    covered = set()
    for episode in episodes:
        steps = np.diff(images[episode.frames])
        assert (np.abs(steps - 0.1) <= 0.025 + 1e-9).all()
        covered.update(episode.frames.tolist())
    # Whatever has its neighbour is used.
    neighbours = np.flatnonzero(np.diff(images) < 0.125)
    assert covered == set(neighbours) | set(neighbours + 1)


# Velocities and efforts.


def test_the_mean_is_weighted_by_time():
    """1 for 0.1 s, then 3 for 0.075 s and 5 for 0.025 s."""
    _, commands = the_one(paired([0, 0.1, 0.2], [0, 0.1, 0.175], [1, 3, 5], rule()))
    assert commands == [[1], [3.5]]


def test_a_step_is_cut_into_its_commands():
    times = np.arange(10) / 50
    _, commands = the_one(paired([0, 0.1, 0.2], times, np.arange(10), rule(frame_skip=5)))
    assert commands == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_slow_commands_are_held():
    _, commands = the_one(paired(np.arange(5) / 10, [0, 0.2], [1, 2], rule(frame_skip=2)))
    assert commands == [[1, 1], [1, 1], [2, 2], [2, 2]]


@pytest.mark.parametrize('lag', [0.0, 0.03, 0.1, 0.25])
def test_a_known_lag_is_taken_into_account(lag):
    """Commands change 0.25 s to 0 s before their effect, which is at a frame."""
    effects = np.arange(1, 9) / 10
    images = np.arange(10) / 10
    _, commands = the_one(paired(images, effects - lag, np.arange(1, 9), rule(lag_s=lag)))
    assert commands == [[value] for value in range(1, 9)]


def test_without_commands_the_robot_stops():
    """1 from 0 s to 0.25 s, then nothing until 0.4 s."""
    _, commands = the_one(
        paired(np.arange(7) / 10, [0, 0.4], [1, 2], rule(timeout_s=0.25))
    )
    assert commands == [[1], [1], [0.5], [0], [2], [2]]


def test_a_robot_that_never_stops_by_itself_goes_on():
    _, commands = the_one(
        paired(np.arange(5) / 10, [0, 0.3], [1, 2], rule(timeout_s=np.inf))
    )
    assert commands == [[1], [1], [1], [2]]


@given(seed=st.integers(0, 10**6), skip=st.integers(1, 4), lag=st.floats(0, 0.2))
@settings(deadline=None, max_examples=60)
def test_commands_add_up_to_where_the_robot_goes(seed, skip, lag):
    """Two unrelated, jittering rates: the commands of each step move as far as the robot did."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.005, 0.2, 80))
    commands = rng.normal(size=80)
    images = times[0] + lag + np.cumsum(rng.uniform(0.085, 0.115, 50))
    fine = np.linspace(images[0], images[-1], 20001)
    latest = np.searchsorted(times + lag, fine, side='right') - 1
    held = np.where(fine - (times + lag)[latest] < 0.15, commands[latest], 0.0)
    place = np.concatenate([[0], np.cumsum(held[:-1] * np.diff(fine))])
    given_rule = rule(frame_skip=skip, lag_s=lag, timeout_s=0.15, tolerance=0.5)
    for episode in paired(images, times, commands, given_rule):
        seen = images[episode.frames]
        moved = episode.commands.mean(axis=1)[:, 0] * np.diff(seen)
        np.testing.assert_allclose(moved, np.diff(np.interp(seen, fine, place)), atol=2e-2)


# Positions and relative motions.


def test_of_positions_the_one_in_the_middle_counts():
    _, commands = the_one(
        paired([0, 0.1, 0.2], [0, 0.04, 0.18], [1, 2, 3], rule(ActionKind.POSITION))
    )
    assert commands == [[2], [2]]


def test_relative_motions_add_up():
    """Several in a step, one right at a frame, none in the last step."""
    _, commands = the_one(
        paired([0, 0.1, 0.2, 0.3], [0, 0.05, 0.1, 0.15], [1, 2, 4, 8], rule(ActionKind.RELATIVE))
    )
    assert commands == [[3], [12], [0]]


def test_relative_motions_are_those_of_their_part_of_the_step():
    times = np.arange(4) * 0.05 + 0.01
    _, commands = the_one(
        paired([0.01, 0.11, 0.21], times, [1, 2, 4, 8], rule(ActionKind.RELATIVE, frame_skip=2))
    )
    assert commands == [[1, 2], [4, 8]]


def test_components_stay_apart():
    values = np.array([[1.0, -1.0], [2.0, -2.0]])
    (episode,) = pair(stamps([0, 0.1, 0.2]), stamps([0, 0.1]), values, rule())
    np.testing.assert_allclose(episode.commands, values[:, None])
