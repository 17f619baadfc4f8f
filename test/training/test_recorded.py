"""Recorded datasets: what is written is read, also after a cut run; errors name the file."""

import json

import numpy as np
import pytest
import torch

from grasp_ros.models.sensors import CAMERA, SensorSpec
from grasp_ros.training.data.dataset import DatasetError, Description
from grasp_ros.training.data.recorded import RecordedDataset, RecordedWriter

ACTION = {'kind': 'velocity', 'names': ['x', 'y'], 'units': ['m/s', 'm/s']}


def description(**changes):
    fields = {'action': ACTION, 'image': {'height': 4, 'width': 6}, 'model_dt': 0.1}
    return Description(**{**fields, **changes})


def episode(frames, number=0, skip=1, cameras=1):
    """Images that tell episode, frame and camera; commands that tell frame and number."""
    images = np.zeros((frames, cameras, 4, 6, 3), np.uint8)
    images[..., 0] = number
    images[..., 1] = np.arange(frames)[:, None, None, None]
    images[..., 2] = np.arange(cameras)[:, None, None]
    commands = np.zeros((frames - 1, skip, 2))
    commands[..., 0] = 10 * np.arange(frames - 1)[:, None] + np.arange(skip)
    commands[..., 1] = -1.0 - number
    return images, commands


def write(folder, lengths=(5, 3, 8), **changes):
    with RecordedWriter(folder, description(**changes)) as writer:
        skip = changes.get('frame_skip', 1)
        for number, frames in enumerate(lengths):
            writer.add(*episode(frames, number, skip, len(changes.get('cameras', ['camera']))))
    return RecordedDataset(folder)


def test_images_and_actions_are_those_of_their_episode_and_step(tmp_path):
    dataset = write(tmp_path / 'data')
    assert dataset.episodes == 3
    assert dataset.lengths.tolist() == [4, 2, 7]
    episodes, steps = np.array([[0, 2], [1, 2]]), np.array([[4, 0], [1, 7]])
    images = dataset.images(episodes, steps)
    assert images.shape == (2, 2, 3, 4, 6) and images.dtype == torch.float32
    np.testing.assert_allclose(images[:, :, 0, 0, 0] * 255, episodes)
    np.testing.assert_allclose(images[:, :, 1, 3, 5] * 255, steps)
    actions = dataset.actions(np.array([2, 0]), np.array([5, 1]), 2)
    commands = dataset.action_space.denormalise(actions[:, :, :].double().numpy())
    np.testing.assert_allclose(commands[:, :, 0], [[[50, -3], [60, -3]], [[10, -1], [20, -1]]])


def test_statistics_are_of_the_commands_between_frames_only(tmp_path):
    statistics = write(tmp_path / 'data', lengths=(2, 4)).statistics
    commands = np.array([[0, -1], [0, -2], [10, -2], [20, -2]], float)
    np.testing.assert_allclose(statistics.mean, commands.mean(axis=0))
    np.testing.assert_allclose(statistics.std, commands.std(axis=0))
    np.testing.assert_allclose(statistics.low, [0, -2])
    np.testing.assert_allclose(statistics.high, [20, -1])


def test_an_action_holds_the_commands_of_its_step_one_after_the_other(tmp_path):
    dataset = write(tmp_path / 'data', frame_skip=3)
    actions = dataset.actions(np.array([0]), np.array([2]), 1)
    assert actions.shape == (1, 1, 6)
    commands = dataset.action_space.denormalise(actions.double().numpy())[0, 0]
    np.testing.assert_allclose(commands, [[20, -1], [21, -1], [22, -1]], rtol=1e-5)


def test_several_cameras_have_an_axis(tmp_path):
    dataset = write(tmp_path / 'data', cameras=['left', 'right'])
    images = dataset.images(np.array([1]), np.array([0]))
    assert images.shape == (1, 2, 3, 4, 6)
    np.testing.assert_allclose(images[0, :, 2, 0, 0] * 255, [0, 1])


def test_proprioception_and_states_belong_to_their_frames(tmp_path):
    with RecordedWriter(tmp_path / 'data', description(proprioception=['angle'])) as writer:
        for number, frames in enumerate((3, 4)):
            rows = number + np.arange(frames)[:, None] / 10
            writer.add(*episode(frames, number), proprioception=rows, states=rows @ [[1.0, 2.0]])
    dataset = RecordedDataset(tmp_path / 'data')
    episodes, steps = np.array([0, 1]), np.array([2, 3])
    np.testing.assert_allclose(dataset.proprioception(episodes, steps), [[0.2], [1.3]])
    np.testing.assert_allclose(dataset.states(episodes, steps), [[0.2, 0.4], [1.3, 2.6]])


def test_what_is_not_there_cannot_be_asked_for(tmp_path):
    dataset = write(tmp_path / 'data')
    nothing = np.array([0]), np.array([0])
    with pytest.raises(DatasetError, match='no proprioception'):
        dataset.proprioception(*nothing)
    with pytest.raises(DatasetError, match='no states'):
        dataset.states(*nothing)


def test_a_split_is_by_episode_with_the_statistics_of_the_first_part(tmp_path):
    whole = write(tmp_path / 'data', lengths=range(2, 22))
    train, held_out = whole.split(0.2, seed=1)
    assert held_out.episodes == 4
    assert sorted([*train.chosen, *held_out.chosen]) == list(range(20))
    np.testing.assert_array_equal(train.lengths, train.chosen + 1)
    assert held_out.statistics is train.statistics
    alone = RecordedDataset(tmp_path / 'data', train.chosen)
    np.testing.assert_array_equal(train.statistics.mean, alone.statistics.mean)
    again = whole.split(0.2, seed=1)[1]
    np.testing.assert_array_equal(held_out.chosen, again.chosen)
    assert whole.split(0.2, seed=2)[1].chosen.tolist() != held_out.chosen.tolist()
    images = held_out.images(np.array([0]), np.array([1]))
    assert images[0, 0, 0, 0] * 255 == pytest.approx(held_out.chosen[0])


def test_one_episode_cannot_be_split(tmp_path):
    with pytest.raises(DatasetError, match='record several'):
        write(tmp_path / 'data', lengths=(5,)).split(0.1, 0)


def test_what_was_added_before_a_cut_can_be_read(tmp_path):
    """Images of the third episode reach the disk, then the run ends."""
    writer = RecordedWriter(tmp_path / 'data', description())
    for number in range(2):
        writer.add(*episode(4, number))
    writer._images.append(episode(2, 7)[0])
    dataset = RecordedDataset(tmp_path / 'data')
    assert dataset.lengths.tolist() == [3, 3]
    assert dataset.images(np.array([1]), np.array([3]))[0, 0, 0, 0] * 255 == pytest.approx(1)


def test_a_refused_episode_leaves_nothing_behind(tmp_path):
    with RecordedWriter(tmp_path / 'data', description()) as writer:
        writer.add(*episode(4))
        images, commands = episode(4)
        for wrong, fault in (
            ((images[:, :, :2], commands), 'rows of'),
            ((images.astype(float), commands), 'uint8'),
            ((images, commands[:-1]), 'commands of 3 steps, not of 2'),
            ((images, commands[..., :1]), 'rows of'),
            ((images, np.full_like(commands, np.nan)), 'not finite'),
            ((images, commands, np.zeros((4, 1))), 'proprioception must be given'),
            ((images, commands, None, np.zeros((4, 1))), 'states must be given'),
            ((images[:1], commands[:0]), 'two frames'),
        ):
            with pytest.raises(ValueError, match=fault):
                writer.add(*wrong)
        writer.add(*episode(3, 1))
    dataset = RecordedDataset(tmp_path / 'data')
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.images(np.array([1]), np.array([2]))[0, 1, 0, 0] * 255 == pytest.approx(2)


def test_constant_commands_are_refused_by_name(tmp_path):
    dataset = write(tmp_path / 'data', lengths=(5,))
    with pytest.raises(DatasetError, match='y is the same in all commands'):
        _ = dataset.statistics


def test_limits_are_those_given_else_those_seen(tmp_path):
    limits = {**ACTION, 'low': [-5, -5], 'high': [100, 5]}
    given = write(tmp_path / 'given', action=limits).action_space
    assert (given.low.tolist(), given.high.tolist()) == ([-5, -5], [100, 5])
    seen = write(tmp_path / 'seen').action_space
    assert (seen.low.tolist(), seen.high.tolist()) == ([0, -3], [60, -1])


@pytest.mark.parametrize(
    'wrong',
    [
        {'units': ['m/s']},
        {'low': [0, 0]},
        {'low': [0], 'high': [1]},
        {'kind': 'torque'},
        {'names': []},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError):
        description(action={**ACTION, **wrong})


def test_another_dataset_is_not_overwritten_unasked(tmp_path):
    write(tmp_path / 'data')
    with pytest.raises(DatasetError, match='exists already'):
        RecordedWriter(tmp_path / 'data', description())
    with RecordedWriter(tmp_path / 'data', description(), overwrite=True) as writer:
        writer.add(*episode(2))
    assert RecordedDataset(tmp_path / 'data').episodes == 1
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'cat.png').touch()
    with pytest.raises(DatasetError, match='no dataset'):
        RecordedWriter(tmp_path / 'photos', description(), overwrite=True)


def test_errors_of_a_broken_dataset_name_the_file(tmp_path):
    with pytest.raises(DatasetError, match=r'dataset\.json: cannot be read'):
        RecordedDataset(tmp_path)
    write(tmp_path / 'data')
    whole = (tmp_path / 'data' / 'images.npy').read_bytes()
    (tmp_path / 'data' / 'images.npy').write_bytes(whole[:-10])
    with pytest.raises(DatasetError, match=r'images\.npy: missing, truncated'):
        RecordedDataset(tmp_path / 'data')
    (tmp_path / 'data' / 'images.npy').write_bytes(whole)
    np.save(tmp_path / 'data' / 'commands.npy', np.zeros((3, 1, 2)))
    with pytest.raises(DatasetError, match=r'commands\.npy holds 3 frames'):
        RecordedDataset(tmp_path / 'data')
    path = tmp_path / 'data' / 'dataset.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'model_dt': -1}))
    with pytest.raises(DatasetError, match='model_dt'):
        RecordedDataset(tmp_path / 'data')


def test_the_only_camera_has_one_name_in_old_datasets_too(tmp_path):
    write(tmp_path / 'data')
    path = tmp_path / 'data' / 'dataset.json'
    content = json.loads(path.read_text())
    assert content['cameras'] == [CAMERA]
    unnamed = {name: value for name, value in content.items() if name != 'cameras'}
    for old in (content | {'cameras': ['image']}, unnamed):
        path.write_text(json.dumps(old))
        dataset = RecordedDataset(tmp_path / 'data')
        assert dataset.inputs.cameras == SensorSpec().cameras == (CAMERA,)
    several = write(tmp_path / 'several', cameras=['image', 'wrist'])
    assert several.inputs.cameras == ('image', 'wrist')


def test_an_empty_dataset_is_refused(tmp_path):
    RecordedWriter(tmp_path / 'data', description()).close()
    with pytest.raises(DatasetError, match='no episode'):
        RecordedDataset(tmp_path / 'data')
