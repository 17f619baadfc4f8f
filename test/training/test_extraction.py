"""From bags to a dataset: topics, types, clocks and rates, and what is said where it fails."""

import json

import numpy as np
import pytest

from grasp_ros.bags.message_types import BagError
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import load_model
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.training.command import main
from grasp_ros.training.data.extract import Extraction, extract, find_bags
from grasp_ros.training.data.recorded import RecordedDataset
from harness.bags import ARRAY, TRAJECTORY, TWIST, drive, write_bag
from harness.recorded import dot

SIZE = 32
GREY = dot(np.full((1, 2), 0.5), SIZE)[0]


def numbered(times):
    """Images that tell their number by their first pixel."""
    images = []
    for number, seconds in enumerate(times):
        image = GREY.copy()
        image[0, 0] = number
        images.append((seconds, image))
    return images


def run(path, folder, **options):
    wanted = Extraction(
        path, 'image', 'command', image=ImagePipeline(height=SIZE, width=SIZE), **options
    )
    counts = extract(wanted, folder)
    return counts, RecordedDataset(folder)


def all_commands(dataset):
    """Commands of all episodes (steps, frame_skip, R) in physical units."""
    parts = []
    for episode, length in enumerate(dataset.lengths):
        actions = dataset.actions(np.array([episode]), np.array([0]), int(length))[0]
        parts.append(dataset.action_space.denormalise(actions.double().numpy()))
    return np.concatenate(parts)


def numbers(dataset, episode=0):
    steps = np.arange(dataset.lengths[episode] + 1)
    return dataset.stored_images(np.full_like(steps, episode), steps)[:, 0, 0, 0, 0].tolist()


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compressed', [False, True])
def test_images_are_paired_with_what_was_commanded(tmp_path, storage, compressed):
    times = np.arange(6) / 10
    commands = [(t, (i + 1, -i)) for i, t in enumerate(times)]
    path = write_bag(
        tmp_path / 'bag', numbered(times), commands, storage=storage, compressed=compressed
    )
    counts, dataset = run(path, tmp_path / 'data')
    assert (counts.images, counts.commands, counts.frames, counts.episodes) == (6, 6, 6, 1)
    assert numbers(dataset) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(
        all_commands(dataset)[:, 0], [(i + 1, -i) for i in range(5)], atol=1e-5
    )
    action = dataset.description.action
    assert (action.kind, action.names) == (ActionKind.VELOCITY, ['linear.x', 'linear.y'])
    assert action.units == ['m/s', 'm/s']
    assert dataset.description.model_dt == pytest.approx(0.1)


def test_what_never_changes_is_left_out_unless_asked_for(tmp_path, capsys):
    times = np.arange(6) / 10
    path = write_bag(tmp_path / 'bag', numbered(times), [(t, (i, 0)) for i, t in enumerate(times)])
    _, dataset = run(path, tmp_path / 'data')
    assert dataset.description.action.names == ['linear.x']
    assert 'that change: linear.x' in capsys.readouterr().out
    _, dataset = run(path, tmp_path / 'asked', action_names=('linear.y', 'linear.x'))
    assert dataset.description.action.names == ['linear.y', 'linear.x']
    with pytest.raises(ValueError, match=r'linear\.y is the same in all commands'):
        _ = dataset.statistics


def test_a_slow_camera_and_fast_commands(tmp_path):
    """Camera at 5 Hz, commands at 20 Hz, four of them in a step."""
    commands = [(i / 20, (i, 1)) for i in range(41)]
    path = write_bag(tmp_path / 'bag', numbered(np.arange(10) / 5), commands)
    _, dataset = run(path, tmp_path / 'data', frame_skip=4)
    assert dataset.description.model_dt == pytest.approx(0.2)
    np.testing.assert_allclose(
        all_commands(dataset)[:, :, 0], np.arange(36).reshape(9, 4), atol=1e-4
    )


def test_a_fast_camera_is_thinned_out(tmp_path):
    path = write_bag(
        tmp_path / 'bag', numbered(np.arange(31) / 30), [(0.0, (1, 0)), (0.5, (2, 0))]
    )
    _, dataset = run(path, tmp_path / 'data', model_dt=0.1, timeout_s=0.0)
    assert numbers(dataset) == list(range(0, 31, 3))


def test_stamps_count_and_not_when_it_was_recorded(tmp_path):
    """Images are recorded in bursts; the commands have stamps, too."""
    times = np.arange(6) / 10
    commands = [(t, (i, 0)) for i, t in enumerate(times)]
    path = write_bag(tmp_path / 'bag', numbered(times), commands, delay=3.0)
    _, dataset = run(path, tmp_path / 'data')
    np.testing.assert_allclose(all_commands(dataset)[:, 0, 0], np.arange(5), atol=1e-5)


def test_commands_without_stamps_are_on_the_clock_of_the_recording(tmp_path, capsys):
    times = np.arange(6) / 10
    commands = [(t, (i, 0)) for i, t in enumerate(times)]
    path = write_bag(tmp_path / 'bag', numbered(times), commands, kind=TWIST, delay=3.0)
    _, dataset = run(path, tmp_path / 'data')
    np.testing.assert_allclose(all_commands(dataset)[:, 0, 0], np.arange(5), atol=1e-5)
    assert 'no stamps' in capsys.readouterr().out


def test_trajectories_are_positions_by_joint(tmp_path):
    commands = [(t / 10, (t, 10 - t)) for t in range(6)]
    path = write_bag(
        tmp_path / 'bag', numbered(np.arange(6) / 10), commands, kind=TRAJECTORY
    )
    _, dataset = run(path, tmp_path / 'data', action_names=('wrist', 'lift'))
    action = dataset.description.action
    assert (action.kind, action.names) == (ActionKind.POSITION, ['wrist', 'lift'])
    np.testing.assert_allclose(
        all_commands(dataset)[:, 0], [(10 - t, t) for t in range(5)], atol=1e-5
    )


def test_arrays_need_a_kind_and_may_have_names(tmp_path):
    commands = [(t / 10, (t, 10 - t)) for t in range(6)]
    path = write_bag(tmp_path / 'bag', numbered(np.arange(6) / 10), commands, kind=ARRAY)
    with pytest.raises(BagError, match='--action-kind'):
        run(path, tmp_path / 'data')
    relative = ActionKind.RELATIVE
    _, dataset = run(path, tmp_path / 'data', action_kind=relative, action_names=('x', 'y'))
    assert dataset.description.action.names == ['x', 'y']
    with pytest.raises(BagError, match='has 2 numbers, but --action-names gives 1'):
        run(path, tmp_path / 'other', action_kind=relative, action_names=('x',))


def proprioception_at(dataset, episode=0):
    steps = np.arange(dataset.lengths[episode] + 1)
    return dataset.proprioception(np.full_like(steps, episode), steps).tolist()


def test_each_image_has_the_proprioception_nearest_to_it(tmp_path):
    """Joints at 25 Hz, not at the moments of the images."""
    commands = [(t / 10, (t, 0)) for t in range(6)]
    values = [(0.03 + 0.04 * i, (i, -i)) for i in range(15)]
    path = write_bag(tmp_path / 'bag', numbered(np.arange(6) / 10), commands, proprioception=values)
    _, dataset = run(path, tmp_path / 'data', proprioception_topic='joint_states')
    assert dataset.description.proprioception == ['position.lift', 'position.wrist']
    assert proprioception_at(dataset) == [[i, -i] for i in (0, 2, 4, 7, 9, 12)]
    wrist = {'proprioception_topic': 'joint_states', 'proprioception_names': ('position.wrist',)}
    _, dataset = run(path, tmp_path / 'wrist', **wrist)
    assert proprioception_at(dataset) == [[-i] for i in (0, 2, 4, 7, 9, 12)]


def test_an_image_without_proprioception_splits_the_episode(tmp_path, capsys):
    commands = [(t / 10, (t, 0)) for t in range(8)]
    values = [(t / 10, (t,)) for t in (0, 1, 2, 3, 5, 6, 7)]
    path = write_bag(tmp_path / 'bag', numbered(np.arange(8) / 10), commands, proprioception=values)
    options = {'proprioception_topic': 'joint_states', 'model_dt': 0.1}
    _, dataset = run(path, tmp_path / 'data', **options)
    assert dataset.lengths.tolist() == [3, 2]
    assert proprioception_at(dataset, 1) == [[5], [6], [7]]
    assert '1 images have no proprioception near them' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'proprioception_topic': 'odom'}, r'no message on /odom \(--proprioception-topic\)'),
        ({'proprioception_topic': 'image'}, r'is of type .*Image, not'),
        (
            {'proprioception_topic': 'joint_states', 'proprioception_names': ('position.elbow',)},
            r"no joint 'elbow'",
        ),
        ({'proprioception_topic': 'command'}, '--proprioception-names'),
    ],
)
def test_proprioception_that_is_not_there_is_named(tmp_path, options, fault):
    commands = [(t / 10, (t, 0)) for t in range(6)]
    values = [(t / 10, (t, -t)) for t in range(6)]
    path = write_bag(tmp_path / 'bag', numbered(np.arange(6) / 10), commands, proprioception=values)
    with pytest.raises(BagError, match=fault):
        run(path, tmp_path / 'data', **options)


def test_every_bag_of_a_folder_is_an_episode_of_its_own(tmp_path):
    times = np.arange(5) / 10
    commands = [(t, (i, 0)) for i, t in enumerate(times)]
    write_bag(tmp_path / 'bags' / 'one', numbered(times), commands)
    write_bag(tmp_path / 'bags' / 'two', numbered(times[:3]), commands, storage='sqlite3')
    assert len(find_bags(tmp_path / 'bags')) == 2
    _, dataset = run(tmp_path / 'bags', tmp_path / 'data')
    assert dataset.lengths.tolist() == [4, 2]


def test_bags_of_different_commands_do_not_mix(tmp_path):
    times = np.arange(5) / 10
    commands = [(t, (i, 0)) for i, t in enumerate(times)]
    write_bag(tmp_path / 'bags' / 'one', numbered(times), commands)
    write_bag(tmp_path / 'bags' / 'two', numbered(times), commands, kind=TRAJECTORY)
    with pytest.raises(BagError, match=r'two: .*JointTrajectory .*one it is'):
        run(tmp_path / 'bags', tmp_path / 'data')


def test_what_was_extracted_is_kept_until_something_changes(tmp_path):
    times = np.arange(6) / 10
    commands = [(t, (i, 0)) for i, t in enumerate(times)]
    path = write_bag(tmp_path / 'bag', numbered(times), commands)
    assert run(path, tmp_path / 'data')[0] is not None
    assert run(path, tmp_path / 'data')[0] is None
    assert run(path, tmp_path / 'data', lag_s=0.1)[0].frames == 5
    assert [file.name for file in tmp_path.iterdir() if 'scratch' in file.name] == []


def test_images_that_cannot_be_decoded_split_an_episode(tmp_path, capsys):
    times = np.arange(8) / 10
    images = numbered(times)
    images[3] = (times[3], b'no image')
    path = write_bag(
        tmp_path / 'bag', images, [(t, (i, 0)) for i, t in enumerate(times)], compressed=True
    )
    counts, dataset = run(path, tmp_path / 'data')
    assert counts.refused == 1
    assert dataset.lengths.tolist() == [2, 3]
    assert '1 images left out' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'image_topic': 'camera'}, r'no message on /camera \(--image-topic\).*/image'),
        ({'action_topic': 'cmd_vel'}, r'no message on /cmd_vel \(--action-topic\).*/command'),
        ({'image_topic': 'command'}, r'/command \(--image-topic\) is of type .*TwistStamped, not'),
        ({'action_topic': 'image'}, r'/image \(--action-topic\) is of type .*Image, not'),
        ({'action_names': ('linear.w',)}, r'linear\.w'),
        ({'model_dt': 0.07}, r'a step of 0\.07 s apart.*--model-dt'),
    ],
)
def test_errors_say_what_to_change(tmp_path, options, fault):
    times = np.arange(6) / 10
    path = write_bag(tmp_path / 'bag', numbered(times), [(t, (i, 0)) for i, t in enumerate(times)])
    asked = {'image_topic': 'image', 'action_topic': 'command', **options}
    wanted = Extraction(path, image=ImagePipeline(height=SIZE, width=SIZE), **asked)
    with pytest.raises(BagError, match=fault):
        extract(wanted, tmp_path / 'data')


def test_constant_commands_are_refused(tmp_path):
    times = np.arange(6) / 10
    path = write_bag(tmp_path / 'bag', numbered(times), [(t, (1, 0)) for t in times])
    with pytest.raises(BagError, match='are the same'):
        run(path, tmp_path / 'data')


def test_time_that_jumps_back_is_refused(tmp_path):
    stamped = numbered([10.0, 10.1, 0.5, 0.6])
    images = [(*each, 10 + t / 10) for t, each in enumerate(stamped)]
    commands = [(10 + t / 10, (t, 0)) for t in range(4)]
    with pytest.raises(BagError, match='jumps back'):
        run(write_bag(tmp_path / 'bag', images, commands), tmp_path / 'data')


def test_no_bags_are_an_error(tmp_path):
    with pytest.raises(BagError, match='neither a bag nor a folder of bags'):
        find_bags(tmp_path)


# The command.


TINY = [
    '--iterations=4', '--reach-iterations=4', '--decoder-iterations=2', '--batch=4', '--span=8',
    '--manifold-iterations=2', '--predictor-iterations=2', '--reach-batch=16', '--channels=4',
    '--latent-dim=8', '--hidden=32', '--keypoints=4', '--image-size=32',
]  # fmt: skip


def test_the_command_goes_from_bags_to_a_model_that_loads(tmp_path, capsys):
    for seed in range(3):
        write_bag(tmp_path / 'bags' / str(seed), *drive(40.0, seed=seed))
    arguments = [
        f'--bags={tmp_path / "bags"}', f'--output={tmp_path / "model"}',
        f'--work={tmp_path / "work"}', *TINY,
    ]  # fmt: skip
    assert main([*arguments, '--action-low', '-1', '-1', '--action-high', '1', '1']) in (0, 1)
    assert '1200 images (0 left out) and 1200 commands make 1200' in capsys.readouterr().out
    _, manifest = load_model(tmp_path / 'model')
    assert manifest.action.names == ['linear.x', 'linear.y']
    assert manifest.action.high == [1.0, 1.0]
    assert manifest.control_rate == pytest.approx(10.0)
    assert json.dumps(manifest.training['dataset']['source'])


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (['--image-size=40'], '--image-size is 40'),
        (['--tolerance=2'], '--tolerance is 2'),
        (['--frame-skip=0'], '--frame-skip is 0'),
        (['--lag=-1'], '--lag is -1'),
        ([], 'neither a bag nor'),
    ],
)
def test_the_command_refuses_what_makes_no_sense(tmp_path, arguments, fault, capsys):
    assert main([f'--bags={tmp_path}', f'--work={tmp_path / "work"}', *arguments]) == 2
    assert fault in capsys.readouterr().err


def test_options_of_bags_need_bags(capsys):
    with pytest.raises(SystemExit):
        main(['--image-topic=camera'])
    assert '--image-topic: only with --bags' in capsys.readouterr().err
