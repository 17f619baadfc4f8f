"""The two rooms: walls stop, images show, episodes repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ros.sim.motion import collect
from grasp_ros.sim.rooms.episodes import make_episode, path_lengths
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, ROBOT, TwoRooms, sample_free

WORLD = TwoRooms()
SPEED = st.floats(-3.0, 3.0)
DRIVE = st.lists(st.tuples(SPEED, SPEED, st.floats(0.0, 2.0)), min_size=1, max_size=12)


@given(seed=st.integers(0, 2**32 - 1), drive=DRIVE)
@settings(max_examples=100, deadline=None)
def test_no_robot_overlaps_a_wall_or_changes_rooms_beside_the_door(seed, drive):
    position = sample_free(WORLD, 1, np.random.default_rng(seed)) * METRES_PER_PIXEL
    for x_speed, y_speed, duration in drive:
        velocity = np.array([[x_speed, y_speed]])
        for _ in range(max(1, round(duration / 0.05))):
            before = position / METRES_PER_PIXEL
            position = WORLD.advance(position, velocity, 0.05)
            pixels = position / METRES_PER_PIXEL
            assert WORLD.is_free(pixels).all()
            if WORLD.room(before)[0] != WORLD.room(pixels)[0]:
                clearance = WORLD.door_width / 2 - WORLD.robot_radius
                assert abs(pixels[0, 1] - WORLD.door_centre) <= clearance + 1e-6


@given(x=SPEED, y=SPEED, duration=st.floats(0.0, 1.0), cut=st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_on_open_floor_any_duration_is_integrated_exactly(x, y, duration, cut):
    world = TwoRooms(size=1024, door_centre=512.0)
    start = np.array([[12.0, 12.0]])
    velocity = np.array([[x, y]])
    whole = world.advance(start, velocity, duration)
    first = world.advance(start, velocity, duration * cut)
    np.testing.assert_allclose(
        world.advance(first, velocity, duration * (1 - cut)), whole, atol=1e-9
    )
    np.testing.assert_allclose(whole, start + np.clip(velocity, -1, 1) * duration, atol=1e-9)


@pytest.mark.parametrize('duration', [0.0, -0.1])
def test_no_time_no_motion(duration):
    start = np.array([[1.0, 1.0]])
    moved = WORLD.advance(start, np.ones((1, 2)), duration)
    np.testing.assert_array_equal(moved, start)
    assert moved is not start


def test_walls_stop_but_let_slide():
    start = np.array([[20.0, 20.0]]) * METRES_PER_PIXEL
    end = WORLD.advance(start, np.array([[1.0, -0.2]]), 1.0) / METRES_PER_PIXEL
    wall = (WORLD.size - WORLD.wall_thickness) / 2
    np.testing.assert_allclose(end, [[wall - WORLD.robot_radius, 16.0]], atol=1e-6)


def test_the_door_lets_through():
    start = np.array([[20.0, WORLD.door_centre]]) * METRES_PER_PIXEL
    end = WORLD.advance(start, np.array([[1.0, 0.0]]), 1.0)
    np.testing.assert_allclose(end / METRES_PER_PIXEL, [[40.0, WORLD.door_centre]], atol=1e-6)


def test_the_picture_shows_the_robot_where_it_is():
    positions = sample_free(WORLD, 50, np.random.default_rng(0)) * METRES_PER_PIXEL
    images = WORLD.render(positions)
    assert images.shape == (50, 64, 64, 3)
    assert images.dtype == np.uint8
    weight = np.abs(images.astype(float) - WORLD.background()).sum(axis=-1)
    centres = np.arange(WORLD.size) + 0.5
    total = weight.sum(axis=(1, 2))
    x = (weight * centres).sum(axis=(1, 2)) / total
    y = (weight * (WORLD.size - centres)[:, None]).sum(axis=(1, 2)) / total
    seen = np.stack([x, y], axis=-1) * METRES_PER_PIXEL
    assert np.abs(seen - positions).max() < 0.25 * METRES_PER_PIXEL


def test_the_robots_middle_has_the_robots_colour():
    image = WORLD.render(np.array([[10.5, 20.5]]) * METRES_PER_PIXEL)[0]
    assert tuple(image[64 - 21, 10]) == ROBOT


@pytest.mark.parametrize('seed', range(8))
def test_episodes_repeat_by_seed(seed):
    episode, again = make_episode(WORLD, seed), make_episode(WORLD, seed)
    np.testing.assert_array_equal(episode.start, again.start)
    np.testing.assert_array_equal(episode.goal, again.goal)
    assert episode.through_door == (seed % 2 == 0)
    start, goal = episode.start / METRES_PER_PIXEL, episode.goal / METRES_PER_PIXEL
    assert WORLD.is_free(np.stack([start, goal])).all()
    assert (WORLD.room(start) != WORLD.room(goal)) == episode.through_door


def test_different_seeds_give_different_episodes():
    assert not np.array_equal(make_episode(WORLD, 0).start, make_episode(WORLD, 2).start)


def test_the_way_through_the_door_is_longer_than_straight():
    start, goal = np.array([[20.0, 10.0]]), np.array([[44.0, 10.0]])
    length = path_lengths(WORLD, goal, start)[0]
    wall = WORLD.door_centre - WORLD.door_width / 2 + WORLD.robot_radius
    assert length > 2 * np.hypot(12.0 - WORLD.wall_thickness / 2, wall - 10.0)
    assert length < 2 * np.hypot(12.0, WORLD.door_centre - 10.0) + 4.0


def test_within_a_room_the_way_is_straight():
    start, goal = np.array([[10.0, 10.0]]), np.array([[20.0, 30.0]])
    np.testing.assert_allclose(path_lengths(WORLD, goal, start), np.hypot(10.0, 20.0))


def test_recorded_motion_obeys_walls_and_limits():
    data = collect(WORLD, episodes=20, length=10, seed=3)
    assert data.positions.shape == (20, 11, 2)
    assert np.abs(data.actions).max() <= WORLD.max_speed
    assert WORLD.is_free(data.positions / METRES_PER_PIXEL).all()
    again = collect(WORLD, episodes=20, length=10, seed=3)
    np.testing.assert_array_equal(data.positions, again.positions)
