"""Push-T recorded as a dataset: does it hold what happened on the table?"""

import numpy as np
import pytest

pytest.importorskip('pymunk')

from grasp_ros.messages.images import to_model_input
from grasp_ros.sim.push_t.robot import render
from grasp_ros.sim.push_t.world import advance, succeeded
from grasp_ros.training.data.push_t_data import main
from grasp_ros.training.data.recorded import RecordedDataset


def test_commands_lead_from_each_frame_to_the_next(tmp_path):
    folder = tmp_path / 'data'
    arguments = ['--output', str(folder), '--episodes', '2', '--length', '4', '--symmetries', '3']
    assert main(arguments) == 0
    data = RecordedDataset(folder)
    assert data.episodes == 6 and (data.lengths == 4).all()
    assert data.description.frame_skip == 5 and data.action_space.kind.value == 'relative'
    episodes, steps = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    states, following = data.states(episodes, steps), data.states(episodes, steps + 1)
    commands = data.action_space.denormalise(
        data.actions(episodes, steps, 1)[:, 0].double().numpy()
    )
    assert succeeded(advance(states, commands)[:, -1], following).all()
    assert (data.stored_images(episodes, steps)[:, 0] == render(states)).all()
    assert main(arguments) == 2  # the folder is there already
    assert main([*arguments, '--overwrite']) == 0


def test_small_images_are_those_of_the_camera_as_the_planner_shrinks_them(tmp_path):
    folder = tmp_path / 'data'
    arguments = ['--episodes', '1', '--length', '2', '--symmetries', '1', '--side', '32']
    assert main(['--output', str(folder), *arguments]) == 0
    data = RecordedDataset(folder)
    episode, step = np.zeros(3, np.int64), np.arange(3)
    camera = render(data.states(episode, step))
    shrunk = np.stack([to_model_input(image, 32, 32) for image in camera])
    np.testing.assert_array_equal(data.images(episode, step).numpy(), shrunk)
