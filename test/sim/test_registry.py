"""Every task of the registry has all that the simulated robot, demo, training and benchmark ask."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from grasp_ros.models.checkpoint import PRETRAINED
from grasp_ros.sim.protocol import RobotSettings
from grasp_ros.sim.registry import ROOMS, TASKS
from grasp_ros.sim.rooms import MAZE, TWO_ROOM
from grasp_ros.training.recipes import RECIPES

CONFIG = Path(__file__).parents[2] / 'config'
SEED, HORIZON = 1000, 50

each_task = pytest.mark.parametrize('task', TASKS.values(), ids=lambda task: task.name)


def episode_and_robot(task, seed=SEED):
    """Return a robot at its start, and what it says of its episode to whoever is not in Python."""
    robot = task.robot(RobotSettings(), seed, 10.0)
    return json.loads(json.dumps(robot.episode())), robot


def at_goal(robot):
    """Return the true poses with all that is judged at its goal."""
    truth = robot.truth()
    goals = {'pose': truth['goal'], 'block': truth.get('block_goal')}
    return {name: goals.get(name) for name in truth}


@each_task
def test_a_robot_shows_images_of_now_and_of_the_goal(task):
    _, robot = episode_and_robot(task)
    now, goal = robot.image(), robot.goal_image()
    assert now.dtype == goal.dtype == np.uint8
    assert now.shape == goal.shape == (64, 64, 3)
    assert not np.array_equal(now, goal)
    assert set(task.poses) | {'pose', 'goal'} <= set(robot.truth())
    assert robot.summary()


@each_task
def test_robot_and_episode_of_a_seed_belong_together_and_repeat(task):
    fields, robot = episode_and_robot(task)
    again, _ = episode_and_robot(task)
    assert fields == again and fields['seed'] == SEED
    robot.reset(SEED + 1, 11.0)
    other = robot.episode()
    assert other['seed'] == SEED + 1 and other['goal'] != fields['goal']
    episode = task.episode(SEED)
    goal = getattr(episode, 'episode', episode).goal
    scale = 1.0 if task.name == 'push_t' else 0.05
    np.testing.assert_allclose(np.multiply(fields['goal'], scale), goal[: len(fields['goal'])])


@each_task
def test_success_is_to_be_at_the_goal_and_not_to_stand_still(task):
    fields, robot = episode_and_robot(task)
    standing, arrived = (task.monitor(fields, HORIZON) for _ in range(2))
    assert 'to go' in standing.progress()
    while not standing.ended:
        standing.update(task.state(robot.truth()))
    while not arrived.ended:
        arrived.update(task.state(at_goal(robot)))
    failure, success = standing.result(), arrived.result()
    assert success.reached and not failure.reached
    assert success.steps == 0 < failure.steps
    for result in (failure, success):
        assert result.group in task.wording.groups
        row = json.loads(json.dumps(result.row(), allow_nan=False))
        assert task.wording.error(row).endswith(('px', 'deg'))
    assert task.wording.error(task.monitor(fields, HORIZON).result().row()) == '-'


@each_task
def test_a_demo_has_seeds_and_finds_what_the_planner_needs(task):
    seeds = task.seeds(SEED, 4)
    assert seeds == [SEED, SEED + 1, SEED + 2, SEED + 3]
    for first, count in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match=r'seed is|at least one'):
            task.seeds(first, count)
    assert (PRETRAINED / task.model).is_dir()
    model = 'two_room'  # by default
    if task.parameter_file:
        content = yaml.safe_load((CONFIG / task.parameter_file).read_text())
        model = content['/**/planner']['ros__parameters']['model']
    assert model == task.model
    assert 0 < task.required_share <= 1


def test_each_task_that_train_knows_has_a_recipe():
    assert list(RECIPES) == list(ROOMS)
    assert ROOMS.keys() <= TASKS.keys()
    for name, recipe in RECIPES.items():
        assert recipe.task == name
        assert (recipe.layouts > 1) == (ROOMS[name].lengths is not None)


def test_the_speed_limit_is_the_settings_and_that_of_a_slower_world():
    fast, slow = RobotSettings(max_speed=2.0), RobotSettings(max_speed=0.25)
    for task, settings, expected in (
        (TWO_ROOM, fast, 2.0), (TWO_ROOM, slow, 0.25), (MAZE, fast, 0.5), (MAZE, slow, 0.25)
    ):
        robot = task.robot(settings, SEED, 0.0)
        start = np.array([robot.truth()['pose'].x, robot.truth()['pose'].y])
        # Away from the nearest outer wall: nothing is in the way for so short a time.
        away = np.sign(robot.truth()['goal'].x - start[0])
        robot.command([away * 9.0, 0.0], 0.0)
        robot.advance_to(0.04)
        moved = abs(robot.truth()['pose'].x - start[0])
        assert moved == pytest.approx(expected * 0.04)


def test_tasks_are_listed_without_torch_and_pymunk():
    program = (
        'import sys, grasp_ros.sim.registry; '
        'assert not {"torch", "pymunk", "cv2"} & set(sys.modules), sys.modules'
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)
