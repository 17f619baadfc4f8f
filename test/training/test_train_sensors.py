"""Training from recorded data of two cameras with proprioception."""

import numpy as np
import pytest
import torch

from grasp_ros.models.checkpoint import load_model
from grasp_ros.models.compact.model import CompactConfig
from grasp_ros.models.protocol import Observation
from grasp_ros.training.command import main
from grasp_ros.training.data.dataset import Description
from grasp_ros.training.data.recorded import RecordedDataset, RecordedWriter
from grasp_ros.training.losses.latents import EpisodeLatents, encode_all
from grasp_ros.training.losses.time_to_reach import reach_loss
from harness.recorded import dot

TINY = [
    '--iterations=4', '--reach-iterations=4', '--decoder-iterations=2', '--batch=4', '--span=8',
    '--manifold-iterations=2', '--predictor-iterations=2', '--reach-batch=16', '--channels=4',
    '--latent-dim=8', '--hidden=32', '--keypoints=4',
]  # fmt: skip
EPISODES, LENGTH, SIZE = 14, 40, 32


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a dataset of a dot with inertia, seen as it is and in a mirror."""
    path = tmp_path_factory.mktemp('data') / 'dots'
    rng = np.random.default_rng(0)
    description = Description(
        action={'kind': 'effort', 'names': ['x', 'y'], 'units': ['N', 'N']},
        image={'height': SIZE, 'width': SIZE},
        cameras=['plain', 'mirrored'],
        model_dt=0.1,
        proprioception=['vx', 'vy'],
        proprioception_units=['m/s', 'm/s'],
    )
    with RecordedWriter(path, description) as writer:
        for _ in range(EPISODES):
            forces = rng.uniform(-1, 1, (LENGTH, 1, 2))
            place, velocity, places, velocities = rng.uniform(0.3, 0.7, 2), np.zeros(2), [], []
            for step in range(LENGTH + 1):
                places.append(place)
                velocities.append(3.0 + 10 * velocity)
                if step < LENGTH:
                    velocity = 0.8 * velocity + 0.02 * forces[step, 0]
                    place = np.clip(place + velocity, 0.1, 0.9)
            seen = dot(np.array(places), SIZE)
            cameras = np.stack([seen, seen[:, :, ::-1]], axis=1)
            writer.add(cameras, forces, np.array(velocities, np.float32))
    return path


def trained(folder, output, *more):
    status = main([f'--recorded={folder}', f'--output={output / "model"}',
                   f'--work={output / "work"}', *TINY, *more])  # fmt: skip
    assert status in (0, 1), 'four iterations make no useful model'
    return load_model(output / 'model')


def test_the_model_sees_all_cameras_and_feels_and_the_manifest_says_so(folder, tmp_path):
    model, manifest = trained(folder, tmp_path)
    inputs, dataset = manifest.inputs, RecordedDataset(folder)
    assert inputs.names == ('plain', 'mirrored', 'proprioception')
    assert inputs.proprioception.names == ('vx', 'vy')
    assert inputs.proprioception.units == ('m/s', 'm/s')
    mean = dataset.statistics.proprioception_mean
    assert inputs.proprioception.mean == pytest.approx(mean, abs=0.2)
    assert model.latent_shape == (10,)
    first = np.array([0]), np.array([5])
    proprioception = dataset.normalised_proprioception(*first)[:, None]
    observation = Observation(dataset.images(*first)[:, None], proprioception)
    latents = encode_all(model, dataset)
    assert torch.allclose(model.encode(observation)[0, 0], latents.at(*first)[0], atol=1e-5)
    assert (tmp_path / 'model' / 'report.md').exists()


def test_proprioception_can_be_left_out(folder, tmp_path):
    model, manifest = trained(folder, tmp_path, '--proprioception=0')
    assert manifest.proprioception is None
    assert model.latent_shape == (8,)


def test_proprioception_is_normalised_by_the_statistics_of_what_is_trained_on(folder):
    train, held_out = RecordedDataset(folder).split(0.3, 0)
    episodes = np.arange(train.episodes)[:, None]
    steps = np.arange(LENGTH)[None]
    values = train.normalised_proprioception(*np.broadcast_arrays(episodes, steps)).double()
    assert values.mean(dim=(0, 1)).numpy() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert values.std(dim=(0, 1), correction=0).numpy() == pytest.approx([1.0, 1.0], abs=1e-5)
    one = np.array([0]), np.array([3])
    physical = held_out.proprioception(*one)[0].numpy()
    statistics = train.statistics
    expected = (physical - statistics.proprioception_mean) / statistics.proprioception_std
    assert held_out.normalised_proprioception(*one)[0].numpy() == pytest.approx(expected, abs=1e-5)


class Clock:
    """A head that knows the time between frames, but takes two steps to where it is."""

    def __init__(self, proprioception):
        self.config = CompactConfig(proprioception=proprioception)

    def time_to_reach(self, latents, goal):
        apart = (goal - latents)[..., 0]
        return torch.where(apart == 0, 2.0, apart.abs())


@pytest.mark.parametrize(('proprioception', 'violation'), [(0, 0.0), (2, 4.0)])
def test_a_head_that_looks_at_goals_otherwise_must_learn_that_being_there_takes_no_time(
    proprioception, violation
):
    steps = torch.arange(11.0)[None, :, None] + 100 * torch.arange(5.0)[:, None, None]
    latents = EpisodeLatents.of(steps)
    terms = reach_loss(
        Clock(proprioception), torch.zeros(()), latents, 64, np.random.default_rng(0)
    )
    assert float(terms['violation']) == pytest.approx(violation)
