"""Several sensors, one observation: what belongs together in time, and what does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_ros.control.synchronizer import ApproximateTimeSynchronizer
from grasp_ros.control.types import State
from grasp_ros.models.sensors import ProprioceptionSpace, SensorSpec
from grasp_ros.planning.objective import goal_distance
from harness.controller_rig import CONFIG, MS, ProportionalPlanner, Rig
from harness.toy_models import LinearModel, picture

SPACE = ProprioceptionSpace(
    ('vx', 'vy'), ('m/s', 'm/s'), np.array([1.0, 0.0]), np.array([2.0, 1.0])
)
LEFT, RIGHT = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1, 3), np.uint8)


def values_of(*values):
    return np.array(values or (0.0, 0.0), np.float64)


def synchroniser(cameras=('left', 'right'), space=None, tolerance_ms=20):
    return ApproximateTimeSynchronizer(SensorSpec(cameras, space), tolerance_ms / 1e3)


def feed(sensors, *items):
    """Sensors' names and stamps in ms, in the order of their arrival; stamps of what came of it."""
    frames = []
    for name, ms in items:
        data = values_of(ms, 0.0) if name == 'proprioception' else LEFT
        frame = sensors.add(name, data, ms * MS)
        frames.append(None if frame is None else frame.stamp_ns // MS)
    return frames


def test_one_camera_alone_is_an_observation_at_once():
    sensors = synchroniser(('camera',))
    assert feed(sensors, ('camera', 100), ('camera', 100), ('camera', 50)) == [100, 100, 50]


def test_two_cameras_within_the_tolerance_are_one_observation_in_the_order_of_the_model():
    sensors = synchroniser()
    assert sensors.add('right', RIGHT, 100 * MS) is None
    frame = sensors.add('left', LEFT, 115 * MS)
    assert frame.stamp_ns == 115 * MS, 'that of the first camera'
    assert [shown[0, 0, 0] for shown in frame.decode().images] == [0, 1]


def test_what_is_too_far_apart_is_no_observation_and_the_newest_set_is():
    sensors = synchroniser()
    assert feed(sensors, ('left', 100), ('right', 121)) == [None, None]
    assert feed(sensors, ('left', 200), ('left', 210), ('right', 205)) == [None, None, 210]


def test_a_picture_of_the_first_camera_is_used_once():
    sensors = synchroniser()
    assert feed(sensors, ('left', 100), ('right', 100), ('right', 105)) == [None, 100, None]
    assert feed(sensors, ('left', 110)) == [110], 'a slower second camera may be used again'


def test_the_nearest_values_go_with_a_picture_that_arrives_late():
    sensors = synchroniser(('camera',), SPACE)
    feed(sensors, *[('proprioception', ms) for ms in range(60, 160, 10)])
    frame = sensors.add('camera', LEFT, 102 * MS)
    assert frame.proprioception.tolist() == [100.0, 0.0]


def test_all_stamps_must_be_within_the_tolerance_of_each_other():
    sensors = synchroniser(('left', 'right'), SPACE)
    assert feed(sensors, ('right', 85), ('proprioception', 115), ('left', 100)) == [None] * 3
    assert feed(sensors, ('right', 97)) == [100]


def test_time_that_jumps_back_begins_anew():
    sensors = synchroniser()
    feed(sensors, ('left', 5000), ('right', 5000), ('right', 5100))
    assert feed(sensors, ('left', 100), ('right', 100)) == [None, 100]


def test_what_waits_for_a_dead_sensor_is_bounded():
    sensors = synchroniser(('left', 'right'), SPACE)
    feed(sensors, *[('left', ms) for ms in range(5000)])
    feed(sensors, *[('proprioception', ms) for ms in range(5000)])
    assert feed(sensors, ('right', 4999)) == [4999]


def test_who_is_missing_is_named():
    sensors = synchroniser(('left', 'right'), SPACE)
    assert sensors.missing() == 'nothing received of left, right, proprioception'
    feed(sensors, ('left', 100), ('proprioception', 100))
    assert sensors.missing() == 'nothing received of right'
    feed(sensors, ('right', 100))
    assert sensors.missing() == ''
    feed(sensors, ('left', 900), ('right', 900))
    assert sensors.missing() == 'proprioception is 0.80 s behind; sync_tolerance is 0.020 s'


class ProprioceptiveModel(LinearModel):
    """Position is seen, velocity is proprioception, a latent holds both; actions move positions."""

    visual_width = 2

    def __init__(self):
        control = torch.eye(4, 2, dtype=self.dtype)
        super().__init__(torch.eye(4, dtype=self.dtype), control)
        self.observed = []

    def encode(self, observation):
        self.observed.append(observation)
        shown = observation.images[..., :2, 0, 0].to(self.dtype)
        proprioception = observation.proprioception
        if shown.dim() == 4:  # of several cameras: where the first two agree
            shown = (shown[:, :, 0] + shown[:, :, 1]) / 2
        if proprioception is None:
            proprioception = torch.zeros_like(shown)
        return torch.cat([shown, proprioception], dim=-1)


class VisiblePlanner(ProportionalPlanner):
    """Drives what is seen."""

    def __init__(self, model):
        super().__init__(LinearModel())
        self.distance = goal_distance(model, 'latent')

    def plan(self, problem, init=None, **kwargs):
        seen = replace(problem, context=problem.context[..., :2], goal=problem.goal[..., :2])
        self.distance, whole = goal_distance(self.model, 'latent'), self.distance
        plan = super().plan(seen, None, **kwargs)
        self.distance = whole
        rolled = torch.nn.functional.pad(plan.rollout, (0, 2))
        return replace(plan, rollout=rolled, states=rolled)


def proprioceptive(cameras=('camera',), config=CONFIG):
    model = ProprioceptiveModel()
    inputs = SensorSpec(cameras, SPACE)
    return Rig(config, model=model, planner=VisiblePlanner(model), inputs=inputs)


def sense(rig, *names, values=(1.0, 0.0)):
    """What these sensors give now; why it was refused."""
    return [
        rig.controller.add_measurement(
            name,
            values_of(*values) if name == 'proprioception' else picture(*rig.position),
            rig.now,
            now_ns=rig.now,
            arrival_ns=rig.now,
        )
        for name in names
    ]


def drive(rig, *names, count=4):
    """Control periods in which these sensors work; the commands."""
    commands = []
    for _ in range(count):
        assert sense(rig, *names) == [None] * len(names)
        commands.append(rig.command(steady_ns=rig.now))
        rig.plan()
        rig.wait()
    return commands


def test_the_model_gets_normalised_values_and_goals_have_none():
    rig = proprioceptive()
    rig.goal(3.0, -2.0)
    sense(rig, 'proprioception', 'camera', values=(5.0, -1.0))
    rig.plan()
    goal, now = rig.model.observed
    assert goal.proprioception is None
    assert now.proprioception.tolist() == [[[2.0, -1.0]]]


def test_proprioception_does_not_keep_a_goal_from_being_reached():
    rig = proprioceptive(config=replace(CONFIG, reached_distance=0.01, released_distance=0.02))
    rig.goal(0.0, 0.0)
    sense(rig, 'proprioception', 'camera', values=(9.0, 9.0))
    assert rig.plan().state is State.REACHED


@pytest.mark.parametrize('dead', ['left', 'right', 'proprioception'])
def test_a_dead_sensor_stops_the_robot_by_name_until_it_returns(dead):
    sensors = ('left', 'right', 'proprioception')
    rig = proprioceptive(('left', 'right'))
    # Two equal pictures side by side are the goal of two equal cameras.
    rig.controller.set_goal(np.concatenate([picture(3.0, -2.0)] * 2, axis=1))
    assert drive(rig, *sensors)[-1].state is State.RUNNING
    living = [name for name in sensors if name != dead]
    last = drive(rig, *living, count=8)[-1]
    assert last.state is State.STALE_IMAGE
    assert not last.action.any()
    assert f': {dead} is 0.' in last.reason and 'image_timeout is 0.50 s' in last.reason
    assert drive(rig, *sensors)[-1].state is State.RUNNING


def test_before_the_first_observation_the_missing_sensor_is_named():
    rig = proprioceptive()
    sense(rig, 'camera')
    command = rig.command(steady_ns=rig.now)
    assert command.state is State.WAITING_IMAGE
    assert command.reason.endswith('nothing received of proprioception')
    assert rig.controller.observations == 0


@pytest.mark.parametrize(
    ('values', 'fault'),
    [
        ((1.0,), '1 values of proprioception; the model wants 2: vx, vy'),
        ((1.0, np.nan), 'proprioception is not finite: vy'),
        ((np.inf, 0.0), 'proprioception is not finite: vx'),
    ],
)
def test_bad_values_are_refused(values, fault):
    rig = proprioceptive()
    assert sense(rig, 'proprioception', values=values) == [fault]
    sense(rig, 'camera')
    assert rig.controller.observations == 0


def test_values_ahead_of_now_are_refused():
    rig = proprioceptive()
    later = rig.now + 500 * MS
    reason = rig.controller.add_measurement('proprioception', values_of(), later, now_ns=rig.now)
    assert reason == 'proprioception stamp is 0.500 s ahead of now; check the clocks'


def test_the_tolerance_may_change_while_driving():
    rig = proprioceptive()
    rig.controller.reconfigure(replace(CONFIG, sync_tolerance=0.2))
    sense(rig, 'proprioception')
    rig.wait(150 * MS)
    sense(rig, 'camera')
    assert rig.controller.observations == 1


def test_a_goal_that_cannot_be_of_two_cameras_is_refused():
    rig = proprioceptive(('left', 'right'))
    with pytest.raises(ValueError, match=r'5 pixels wide.*2 cameras side by side'):
        rig.controller.set_goal(np.zeros((1, 5, 3), np.uint8))


def test_several_cameras_are_encoded_in_the_order_of_the_model():
    rig = proprioceptive(('left', 'right'))
    rig.controller.set_goal(np.concatenate([picture(1.0, 0.0), picture(3.0, 0.0)], axis=1))
    sense(rig, 'left', 'right', 'proprioception')
    encoded = rig.plan().encoded
    assert encoded.goal[0, :2].tolist() == [2.0, 0.0]
    assert rig.model.observed[-1].images.shape == (1, 1, 2, 3, 1, 1)
