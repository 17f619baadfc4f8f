"""Episodes side by side go as each goes alone with the real controller."""

import numpy as np
import pytest
import torch

from grasp_ros.benchmark.run.cells import BatchedEpisodes
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.factory import build_controller, model_limits
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.planning.registry import build
from grasp_ros.sim.closed_loop import drive, lock_step
from grasp_ros.sim.registry import ROOMS
from grasp_ros.sim.rooms.episodes import RoomsSimulation
from grasp_ros.sim.success import Rules

TOLERANCE = 1.0
GRASP = {'iterations': 2, 'candidates': 2, 'proposals': 2}
TASK = ROOMS['two_room']


@pytest.fixture(scope='module')
def loaded():
    return load_model(find_model('two_room'), dtype=torch.float64)


def alone(loaded, planner, config, task, replan_every):
    """The run of one episode with the controller that the node uses."""
    model, manifest = loaded
    config = lock_step(config, manifest.model_dt, replan_every)
    controller = build_controller(
        model, manifest, planner, model_limits(manifest), config, TOLERANCE
    )
    controller.prepare()
    episode = RoomsSimulation(task.world, task.episode, Rules(budget=task.budget))
    driven = drive(controller, episode, task.world.control_period, replan_every)
    return episode, driven


@pytest.mark.parametrize(
    ('name', 'options', 'replan_every', 'mode'),
    [
        ('greedy', {}, 5, 'shrinking'),
        ('grasp', GRASP, 5, 'shrinking'),
        ('grasp', GRASP, 3, 'fixed'),
        ('cem', {'samples': 16, 'rounds': 2, 'elites': 4}, 5, 'shrinking'),
    ],
)
@pytest.mark.parametrize('seed', [1, 8])
def test_one_episode_goes_as_with_the_controller(loaded, name, options, replan_every, mode, seed):
    task = TASK.episode(seed)
    config = ControllerConfig(horizon=15, horizon_mode=mode, stall_time=1.0, seed=7)
    planner = build(name, loaded[0], options)
    expected, driven = alone(loaded, planner, config, task, replan_every)
    (run,) = BatchedEpisodes(*loaded, planner, config, TOLERANCE).run([task], replan_every)
    assert run.solves == len(driven.solve_times_s)
    np.testing.assert_array_equal(run.positions, np.stack(expected.positions))
    assert run.result == expected.monitor.result()


def test_an_episode_does_not_depend_on_its_neighbours(loaded):
    tasks = [TASK.episode(seed) for seed in range(4)]
    together = BatchedEpisodes(
        *loaded, build('greedy', loaded[0]), ControllerConfig(horizon=20), TOLERANCE
    )
    runs = together.run(tasks, 5)
    assert len({len(run.positions) for run in runs}) > 1
    for task, run in zip(tasks, runs, strict=True):
        (single,) = together.run([task], 5)
        np.testing.assert_allclose(run.positions, single.positions, rtol=0, atol=1e-9)
        assert run.result.reached == single.result.reached


def test_whole_plans_are_judged_at_their_end(loaded):
    tasks = [TASK.episode(seed) for seed in (1, 4)]
    planner = build('greedy', loaded[0])
    config = ControllerConfig(horizon=15)
    runs = BatchedEpisodes(*loaded, planner, config, TOLERANCE).run(tasks, None)
    assert [run.result.reached for run in runs] == [True, False]
    assert [run.imagined for run in runs] == [True, False]
    for run, task in zip(runs, tasks, strict=True):
        assert run.solves == 1
        # The robot stands while the plan is made, then executes all of it.
        assert len(run.positions) == 17
        np.testing.assert_array_equal(run.positions[0], run.positions[1])
        distance = np.linalg.norm(run.positions[-1] - task.episode.goal) / 0.05
        assert run.result.reached == (distance <= 5.0)
