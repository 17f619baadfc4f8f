"""Are goal pictures decoded elsewhere, the newest one taken, and a bad one without effect?"""

from concurrent.futures import Future

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from grasp_ros.control.types import State
from grasp_ros.messages.images import ImageError
from grasp_ros.node.goals import GoalIntake
from grasp_ros.ros.ros_messages import compressed_message, image_message, time_message
from harness.controller_rig import Rig, states
from harness.toy_models import picture


class Thread:
    """A planning thread that runs its jobs when it is told to."""

    def __init__(self):
        self._jobs = []

    def call(self, job):
        future = Future()
        self._jobs.append((job, future))
        return future

    def run(self):
        jobs, self._jobs = self._jobs, []
        for job, future in jobs:
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)


class Setting:
    """A robot that drives to a goal, and whoever hands it another one."""

    def __init__(self):
        self.rig = Rig().running(3.0, 0.0)
        self.thread = Thread()
        self.intake = GoalIntake(self.rig.controller, self.thread.call, lambda job, *a: job(*a))
        self.done, self.failed = [], []

    def take(self, message, **options):
        return self.intake.take(message, self.done.append, self.failed.append, **options)

    def drives_along(self, axis):
        self.rig.steps(2)
        command = self.rig.step()
        return command.state is State.RUNNING and bool(command.action[axis] > 0.1)


@pytest.fixture
def setting():
    return Setting()


def goal(*position, stamp=0):
    return image_message(picture(*position), time_message(stamp), 'camera')


def corrupt():
    """A PNG whole in its chunks, but with other pixels than it claims."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    message = compressed_message(noise, time_message(0), 'camera', 'png')
    start = bytes(message.data).index(b'IDAT') + 4
    for place in range(start, start + 60):
        message.data[place] ^= 0xFF
    assert cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR) is None
    return message


def test_the_robot_stands_until_the_goal_is_decoded_and_then_drives_to_it(setting):
    assert setting.take(goal(0.0, 3.0))
    assert states(setting.rig.steps(3)) == [State.PLANNING] * 3
    assert not setting.rig.velocity.any()
    assert not setting.done
    setting.thread.run()
    np.testing.assert_array_equal(setting.done, [picture(0.0, 3.0)])
    assert setting.drives_along(axis=1)
    assert not setting.failed


def test_an_unchanged_goal_is_not_decoded_again(setting):
    assert setting.take(goal(0.0, 3.0))
    assert not setting.take(goal(0.0, 3.0, stamp=1)), 'before it is decoded'
    setting.thread.run()
    assert not setting.take(goal(0.0, 3.0, stamp=2)), 'after that'
    assert setting.drives_along(axis=1)
    assert setting.take(goal(0.0, 3.0), restart=True)
    assert len(setting.done) == 1


def test_of_several_goals_the_newest_counts_and_the_others_hear_of_it(setting):
    for position in ((5.0, 0.0), (0.0, 5.0), (0.0, 3.0)):
        assert setting.take(goal(*position))
    assert setting.failed == ['another goal came before it was decoded'] * 2
    setting.thread.run()
    np.testing.assert_array_equal(setting.done, [picture(0.0, 3.0)])


def test_a_picture_that_cannot_be_decoded_leaves_the_present_goal(setting):
    assert setting.take(corrupt())
    assert setting.rig.step().state is State.PLANNING
    setting.thread.run()
    assert len(setting.failed) == 1 and 'corrupt' in setting.failed[0]
    assert setting.drives_along(axis=0)
    assert setting.take(corrupt()), 'it is not the present goal'


def test_what_the_header_shows_is_refused_at_once(setting):
    message = goal(0.0, 3.0)
    message.encoding = 'yuv422'
    with pytest.raises(ImageError, match='yuv422'):
        setting.take(message)
    assert setting.drives_along(axis=0)


@pytest.mark.parametrize('end', ['clear', 'forget'])
def test_a_goal_that_is_given_up_while_it_is_decoded_is_void(setting, end):
    assert setting.take(goal(0.0, 3.0))
    getattr(setting.intake, end)()
    setting.thread.run()
    assert not setting.done and not setting.failed
    if end == 'clear':
        assert setting.rig.step().state is State.WAITING_GOAL
    assert setting.take(goal(0.0, 3.0)), 'no goal is known any more'


def test_the_tolerance_of_a_goal_reaches_the_controller(setting):
    assert setting.take(goal(0.0, 3.0), tolerance=1000.0)
    setting.thread.run()
    setting.rig.steps(2)
    assert setting.rig.step().state is State.REACHED
