"""The drawn worlds: one way between any two rooms, closed walls stay closed, episodes repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ros.sim.motion import collect
from grasp_ros.sim.rooms import MAZE, TWO_ROOM, TWO_ROOM_DRAWN_DOOR
from grasp_ros.sim.rooms.episodes import optimal_steps, path_lengths
from grasp_ros.sim.rooms.world import (
    METRES_PER_PIXEL,
    SIDE,
    Maze,
    TwoRooms,
    draw_maze,
    draw_two_rooms,
    neighbours,
)

ROOMS = range(SIDE * SIDE)
SEEDS = st.integers(0, 2**32 - 1)


def rooms_reached(pairs, first=0):
    reached = {first}
    for _ in pairs:
        reached |= {room for pair in pairs if reached & set(pair) for room in pair}
    return reached


@given(seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_exactly_one_way_joins_the_rooms(seed):
    pairs = [(first, second) for first, second, _ in draw_maze(np.random.default_rng(seed)).layout]
    assert set(pairs) <= set(neighbours())
    assert len(set(pairs)) == len(ROOMS) - 1
    assert rooms_reached(pairs) == set(ROOMS)


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_robots_change_rooms_through_doors_only(seed):
    world = draw_maze(np.random.default_rng(seed))
    joined = {(first, second) for first, second, _ in world.layout}
    data = collect(world, 8, 60, seed, near_door=1.0)
    pixels = data.positions / METRES_PER_PIXEL
    assert world.is_free(pixels).all()
    room = world.room(pixels)
    for before, after in zip(room[:, :-1].ravel(), room[:, 1:].ravel(), strict=True):
        assert before == after or (min(before, after), max(before, after)) in joined


def test_doors_are_open_and_other_walls_closed():
    world = draw_maze(np.random.default_rng(3))
    assert world.is_free(world.doors).all()
    for first, second in neighbours():
        middle = (world.centre(first) + world.centre(second)) / 2
        joined = any((first, second) == door[:2] for door in world.layout)
        assert world.is_free(middle) == joined


def test_rooms_are_numbered_from_the_lower_left():
    world = Maze()
    assert world.room(np.array([[5.0, 5.0], [60.0, 5.0], [5.0, 60.0]])).tolist() == [0, 2, 6]
    assert world.room(np.stack([world.centre(room) for room in ROOMS])).tolist() == list(ROOMS)


def test_a_robot_drives_through_a_door_of_the_maze():
    world = Maze(layout=((0, 1, 0.0),))
    start = world.centre(0)[None] * METRES_PER_PIXEL
    end = world.advance(start, np.array([[0.5, 0.0]]), world.pitch * METRES_PER_PIXEL / 0.5)
    np.testing.assert_allclose(end, world.centre(1)[None] * METRES_PER_PIXEL, atol=1e-9)


@given(seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_the_drawn_door_is_whole(seed):
    world = draw_two_rooms(np.random.default_rng(seed))
    low, high = world.inner_walls[0, 3], world.inner_walls[1, 1]
    assert high - low == pytest.approx(world.door_width)
    assert world.border <= low
    assert high <= world.size - world.border


@pytest.mark.parametrize('task', [TWO_ROOM_DRAWN_DOOR, MAZE], ids=lambda task: task.name)
@pytest.mark.parametrize('seed', [1000, 1001, 100_000])
def test_episodes_repeat_and_are_as_long_as_asked(task, seed):
    found, again = task.episode(seed), task.episode(seed)
    assert found.world == again.world
    np.testing.assert_array_equal(found.episode.start, again.episode.start)
    np.testing.assert_array_equal(found.episode.goal, again.episode.goal)
    assert task.lengths.shortest <= found.optimal_steps <= task.lengths.longest
    assert found.budget == round(1.5 * found.optimal_steps) + 20
    ends = np.stack([found.episode.start, found.episode.goal]) / METRES_PER_PIXEL
    assert found.world.is_free(ends).all()
    assert found.world.room(ends[0]) != found.world.room(ends[1])
    assert task.episode(seed + 1).world != found.world


def test_the_default_task_keeps_its_world():
    assert TWO_ROOM.episode(1000).world == TwoRooms()


def test_steps_are_those_of_the_faster_coordinate():
    world = Maze()
    start, goal = world.centre(4)[None], world.centre(4)[None] + [[3.0, 4.0]]
    assert path_lengths(world, goal, start) == pytest.approx(5.0)
    assert optimal_steps(world, goal, start) == pytest.approx(4.0)


def test_the_way_around_is_longer_than_the_straight_line():
    doors = [(0, 1, 0.0), (1, 4, 0.0), (3, 4, 0.0)]
    world = Maze(layout=tuple(doors))
    start, goal = world.centre(0)[None], world.centre(3)[None]
    straight = np.linalg.norm(goal - start)
    assert path_lengths(world, goal, start)[0] > 2 * straight
