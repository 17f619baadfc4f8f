"""The simulated robot in continuous time, without ROS."""

import numpy as np
import pytest

from grasp_ros.sim.rooms.episodes import Episode, make_episode
from grasp_ros.sim.rooms.robot import SimulatedRobot
from grasp_ros.sim.rooms.world import TwoRooms

WORLD = TwoRooms()
OPEN_FLOOR = Episode(1, np.array([0.5, 0.5]), np.array([1.0, 1.0]), through_door=False)


def robot_at(time_s=10.0):
    return SimulatedRobot(WORLD, OPEN_FLOOR, time_s)


def test_moves_by_velocity_times_duration_however_time_is_cut():
    robot = robot_at()
    robot.command([0.4, 0.2], 10.0)
    for time_s in (10.0, 10.003, 10.0301, 10.2):
        robot.advance_to(time_s)
    np.testing.assert_allclose(robot.position, [0.58, 0.54], atol=1e-12)


def test_a_new_command_counts_from_its_own_time():
    robot = robot_at()
    robot.command([0.4, 0.0], 10.0)
    robot.command([0.0, 0.4], 10.25)
    robot.advance_to(10.5)
    np.testing.assert_allclose(robot.position, [0.6, 0.6], atol=1e-12)


def test_stops_when_commands_stop():
    robot = robot_at()
    robot.command([0.4, 0.0], 10.0)
    robot.advance_to(10.4)
    robot.advance_to(17.0)
    np.testing.assert_allclose(robot.position, [0.7, 0.5], atol=1e-12)
    robot.command([0.0, 0.0], 18.0)
    np.testing.assert_allclose(robot.position, [0.7, 0.5], atol=1e-12)


def test_speed_is_limited():
    robot = robot_at()
    robot.command([5.0, 0.0], 10.0)
    robot.advance_to(10.2)
    np.testing.assert_allclose(robot.position, [0.5 + 0.2 * WORLD.max_speed, 0.5], atol=1e-12)


@pytest.mark.parametrize('velocity', [[np.nan, 0.0], [0.0, np.inf], [1.0], [1.0, 1.0, 1.0]])
def test_refuses_commands_that_are_not_two_finite_numbers(velocity):
    robot = robot_at()
    robot.command([0.4, 0.0], 10.0)
    with pytest.raises(ValueError, match='two finite numbers'):
        robot.command(velocity, 10.1)
    robot.advance_to(10.2)
    np.testing.assert_allclose(robot.position, [0.58, 0.5], atol=1e-12)


def test_time_going_backwards_moves_nothing_and_motion_goes_on_from_there():
    robot = robot_at()
    robot.command([0.4, 0.0], 10.0)
    robot.advance_to(10.1)
    robot.advance_to(3.0)
    np.testing.assert_allclose(robot.position, [0.54, 0.5], atol=1e-12)
    robot.advance_to(9.0)
    np.testing.assert_allclose(robot.position, [0.7, 0.5], atol=1e-12)


def test_reset_starts_the_new_episode_at_rest():
    robot = robot_at()
    robot.command([0.4, 0.0], 10.0)
    episode = make_episode(WORLD, 4)
    robot.reset(episode, 10.2)
    robot.advance_to(11.0)
    np.testing.assert_array_equal(robot.position, episode.start)
    assert robot.episode is episode


def test_pictures_show_the_robot_here_and_at_the_goal():
    robot = robot_at()
    np.testing.assert_array_equal(robot.image(), WORLD.render(OPEN_FLOOR.start[None])[0])
    np.testing.assert_array_equal(robot.goal_image(), WORLD.render(OPEN_FLOOR.goal[None])[0])


def test_the_position_cannot_be_changed_from_outside():
    robot = robot_at()
    robot.position[:] = 0.0
    np.testing.assert_array_equal(robot.position, OPEN_FLOOR.start)


@pytest.mark.parametrize('timeout', [0.0, -1.0, np.inf, np.nan])
def test_the_timeout_must_be_positive(timeout):
    with pytest.raises(ValueError, match='command_timeout_s'):
        SimulatedRobot(WORLD, OPEN_FLOOR, 0.0, timeout)
