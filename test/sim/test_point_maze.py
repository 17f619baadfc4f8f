"""The point mass: inertia, drag and walls, with answers known from physics."""

import numpy as np
import pytest

from grasp_ros.sim.point_maze.robot import PointMazeRobot
from grasp_ros.sim.point_maze.world import PointMaze, collect_mass_motion, draw_episode
from grasp_ros.sim.protocol import ProprioceptiveRobot
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL

WORLD = PointMaze()
FREE = np.array([20.0, 14.0]) * METRES_PER_PIXEL


def state(velocity=(0.0, 0.0), place=FREE):
    return np.array([[*place, *velocity]])


def test_a_mass_keeps_moving_and_is_slowed_by_the_drag():
    moved = WORLD.accelerate(state((0.5, -0.2)), np.zeros((1, 2)), 0.4)[0]
    lost = np.exp(-WORLD.drag * 0.4)
    assert moved[2:] == pytest.approx(np.array([0.5, -0.2]) * lost)
    way = np.array([0.5, -0.2]) * (1 - lost) / WORLD.drag
    assert moved[:2] == pytest.approx(FREE + way, abs=1e-4)


def test_full_acceleration_leads_to_the_largest_speed():
    tall = PointMaze(wall_end=0.0, wall_thickness=0.0, drag=20.0)
    moved = tall.accelerate(state(), np.array([[9.0, 0.0]]), 1.0)[0]
    assert moved[2] == pytest.approx(tall.max_acceleration / tall.drag, rel=1e-6)
    assert moved[3] == 0.0


def test_the_step_of_integration_hardly_matters():
    pushed = np.array([[1.0, 0.3]])
    coarse = WORLD.accelerate(state((0.2, 0.1)), pushed, 0.1)
    fine = PointMaze(physics_period=0.001).accelerate(state((0.2, 0.1)), pushed, 0.1)
    assert coarse == pytest.approx(fine, abs=1e-4)


def test_a_wall_stops_the_motion_into_it_and_lets_the_mass_slide_along():
    low = (WORLD.size - WORLD.wall_thickness) / 2 - WORLD.robot_radius
    below = np.array([20.0, low - 1.0]) * METRES_PER_PIXEL
    moved = WORLD.accelerate(state((0.5, 1.0), below), np.zeros((1, 2)), 0.3)[0]
    assert moved[1] == pytest.approx(low * METRES_PER_PIXEL)
    assert moved[3] == pytest.approx(0.0)
    assert moved[2] == pytest.approx(0.5 * np.exp(-WORLD.drag * 0.3))


def test_two_masses_at_one_place_look_alike_whatever_their_velocity():
    images = WORLD.render(np.concatenate([state((1.0, 0.0)), state()])[:, :2])
    assert np.array_equal(*images)


def test_motion_covers_the_maze_stays_in_it_and_obeys_the_commands():
    motion = collect_mass_motion(WORLD, 60, 50, np.random.default_rng(1))
    places = motion.states[..., :2] / METRES_PER_PIXEL
    assert WORLD.is_free(places.reshape(-1, 2)).all()
    assert np.abs(motion.accelerations).max() <= WORLD.max_acceleration
    again = WORLD.accelerate(motion.states[:, 10], motion.accelerations[:, 10], 0.1)
    assert again == pytest.approx(motion.states[:, 11])
    cells = np.unique(np.floor(places.reshape(-1, 2) / 8).astype(int), axis=0)
    assert len(cells) > 45, 'of 64, the wall takes some'
    speeds = np.linalg.norm(motion.states[..., 2:], axis=-1)
    assert (speeds < 0.05).mean() > 0.02 and (speeds > 0.8).mean() > 0.05
    again = collect_mass_motion(WORLD, 60, 50, np.random.default_rng(1))
    assert np.array_equal(again.states, motion.states)


@pytest.mark.parametrize('seed', [1000, 1001, 100000])
def test_an_episode_is_that_of_its_seed(seed):
    episode, length = draw_episode(WORLD, seed)
    ends = np.stack([episode.start, episode.goal]) / METRES_PER_PIXEL
    assert WORLD.is_free(ends).all()
    assert length >= max(30.0, np.linalg.norm(ends[0] - ends[1]) - 1e-9)
    rooms = WORLD.room(ends)
    assert (rooms[0] != rooms[1]) == episode.through_door == (seed % 2 == 0)
    assert np.array_equal(draw_episode(WORLD, seed)[0].goal, episode.goal)


def robot(seed=1000):
    return PointMazeRobot(0.5, seed, 10.0)


def test_the_simulated_robot_obeys_accelerations_and_feels_its_velocity():
    made = robot()
    start = made.truth()['pose']
    made.command([0.5, 0.0], 10.0)
    made.advance_to(10.3)
    expected = WORLD.accelerate(state(place=(start.x, start.y)), np.array([[0.5, 0.0]]), 0.3)[0]
    assert made.velocity() == pytest.approx(expected[2:])
    assert made.truth()['pose'].x == pytest.approx(expected[0])
    assert isinstance(made, ProprioceptiveRobot)


def test_without_commands_the_simulated_robot_comes_to_rest():
    made = robot()
    made.command([0.5, 0.0], 10.0)
    made.advance_to(10.5)
    driven = made.velocity()
    made.advance_to(11.5)
    assert made.velocity() == pytest.approx(driven * np.exp(-WORLD.drag))
    made.advance_to(5.0)
    assert made.velocity() == pytest.approx(driven * np.exp(-WORLD.drag)), 'time stands still'


def test_the_simulated_robot_begins_an_episode_at_rest():
    made = robot()
    made.command([1.0, 1.0], 10.0)
    made.reset(1001, 11.0)
    episode, way = draw_episode(WORLD, 1001)
    told = made.episode()
    assert told['seed'] == 1001 and told['way'] == way and not told['through_door']
    assert not made.velocity().any()
    assert np.array_equal(made.image(), WORLD.render(episode.start[None])[0])
    assert np.array_equal(made.goal_image(), WORLD.render(episode.goal[None])[0])


@pytest.mark.parametrize('values', [[1.0], [np.nan, 0.0], [1.0, 2.0, 3.0]])
def test_the_simulated_robot_refuses_what_is_no_acceleration(values):
    with pytest.raises(ValueError, match='must be two finite numbers'):
        robot().command(values, 10.0)


@pytest.mark.parametrize('timeout', [0.0, np.inf, -1.0])
def test_the_timeout_of_commands_must_be_positive(timeout):
    with pytest.raises(ValueError, match='command_timeout_s'):
        PointMazeRobot(timeout, 0, 0.0)
