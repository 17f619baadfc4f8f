"""Closed loops in lock step: the order of events, every task, and the committed model."""

from types import SimpleNamespace

import numpy as np
import pytest

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.factory import bundle
from grasp_ros.control.limits import Limits
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.models.sensors import ProprioceptionSpace, SensorSpec
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner
from grasp_ros.sim.closed_loop import RobotEpisode, drive, tick
from grasp_ros.sim.protocol import RobotSettings
from grasp_ros.sim.registry import TASKS
from grasp_ros.sim.rooms.episodes import RoomsSimulation, make_episode
from grasp_ros.sim.rooms.world import TwoRooms
from grasp_ros.sim.success import Rules


@pytest.fixture(scope='module')
def controller():
    model, manifest = load_model(find_model('two_room'))
    space = manifest.action_space
    one_step = manifest.calibration.one_step_time_to_reach
    return Controller(
        bundle(model, manifest),
        GraspPlanner(model, GraspConfig()),
        Limits(space.low, space.high, np.full(space.size, np.inf)),
        ControllerConfig(
            model_dt=manifest.model_dt, reached_distance=one_step, released_distance=2 * one_step
        ),
    )


@pytest.mark.parametrize('seed', [3000, 3001])
def test_the_robot_reaches_the_goal_and_stays(controller, seed):
    world = TwoRooms()
    episode = RoomsSimulation(world, make_episode(world, seed), Rules.for_horizon(50))
    run = drive(controller, episode, world.control_period)
    result = episode.monitor.result()
    assert result.through_door == (seed == 3000)
    assert result.reached
    assert result.final_distance_px <= 5.0
    assert len(run.solve_times_s) > 10


SPACE = ProprioceptionSpace(('x', 'y'), ('m/s', 'm/s'), np.zeros(2), np.ones(2))


class Script:
    """A driver that says what it was asked, and drives to the right."""

    def __init__(self, space=None, solve_time_s=0.5):
        self.inputs = SensorSpec(proprioception=space)
        self.events = []
        self.images = []
        self.proprioception = []
        self.plans = SimpleNamespace(plan=SimpleNamespace(solve_time_s=solve_time_s))

    def reset(self):
        self.events.append('reset')

    def set_goal(self, image):
        self.events.append('goal')
        self.images.append(image)

    def add_measurement(self, name, data, stamp_ns):
        self.events.append((name, stamp_ns))
        self.proprioception.append(data)

    def observe(self, image, stamp_ns):
        self.events.append(('observe', stamp_ns))
        self.images.append(image)

    def command(self, now_ns):
        self.events.append(('command', now_ns))
        # Nothing is known before the first plan.
        return SimpleNamespace(action=np.array([0.02, 0.0]) if now_ns else None)

    def plan(self, now_ns):
        self.events.append(('plan', now_ns))
        return self.plans


class Corridor:
    """An episode of so many periods, without anything else."""

    goal_image = 'goal'

    def __init__(self, periods):
        self.periods, self.commands = periods, []

    def observe(self):
        return len(self.commands)

    def step(self, command):
        self.commands.append(command.tolist())

    def ended(self):
        return len(self.commands) == self.periods


def test_each_period_has_an_image_then_a_command_and_some_have_a_plan():
    script, episode = Script(), Corridor(3)
    driven = drive(script, episode, 0.1, replan_every=2)
    times = (0, 100_000_000, 200_000_000)
    expected = [(what, ns) for ns in times for what in ('observe', 'command', 'plan')]
    expected.remove(('plan', times[1]))
    assert script.events == ['reset', 'goal', *expected]
    assert script.images == ['goal', 0, 1, 2]
    assert episode.commands == [[0.0, 0.0], [0.02, 0.0], [0.02, 0.0]]
    assert driven.solve_times_s == (0.5, 0.5) and not driven.cut


def test_an_episode_is_given_up_when_its_solves_take_too_long():
    episode = Corridor(100)
    driven = drive(Script(), episode, 0.1, most_solving_s=1.2)
    assert driven.cut and driven.solve_times_s == (0.5,) * 3
    assert len(episode.commands) == 3


@pytest.mark.parametrize('task', TASKS.values(), ids=lambda task: task.name)
def test_the_robot_of_every_task_can_be_driven(task):
    robot = task.robot(RobotSettings(), 1000, 0.0)
    episode = RobotEpisode(task, robot, task.monitor(robot.episode(), 10), 0.1)
    script = Script(SPACE if task.name == 'point_maze' else None)
    assert not drive(script, episode, 0.1).cut
    assert episode.monitor.ended
    np.testing.assert_array_equal(script.images[0], robot.goal_image())
    assert not np.array_equal(script.images[-1], script.images[1]), 'it has moved'
    if script.proprioception:
        assert script.proprioception[0].tolist() == [0.0, 0.0]
        assert script.proprioception[-1][0] > 0.0


def test_a_model_that_feels_is_not_driven_blindly():
    with pytest.raises(TypeError, match='proprioception'):
        tick(Script(SPACE), Corridor(1), 0)
