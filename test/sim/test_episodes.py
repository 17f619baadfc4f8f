"""The committed model with the default planner, in lock step with the simulator."""

import numpy as np
import pytest

from grasp_ros.benchmark.episodes.timing import run_episode
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits
from grasp_ros.messages.images import to_model_input
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.sim.success import Rules


@pytest.fixture(scope='module')
def controller():
    model, manifest = load_model(find_model('two_room'))
    space = manifest.action_space
    one_step = manifest.calibration.one_step_time_to_reach
    return Controller(
        model,
        GraspPlanner(model, GraspConfig()),
        lambda picture: to_model_input(picture, manifest.image.height, manifest.image.width),
        space,
        Limits(space.low, space.high, np.full(space.size, np.inf)),
        ControllerConfig(
            model_dt=manifest.model_dt, reached_distance=one_step, released_distance=2 * one_step
        ),
    )


@pytest.mark.parametrize('seed', [3000, 3001])
def test_the_robot_reaches_the_goal_and_stays(controller, seed):
    world = TwoRooms()
    run = run_episode(controller, world, make_episode(world, seed), Rules.for_horizon(50))
    assert run.result.through_door == (seed == 3000)
    assert run.result.reached
    assert run.result.final_distance_px <= 5.0
    assert len(run.solve_times_s) > 10
