"""Models on disk: the committed one loads, and whatever is wrong is named."""

import hashlib
import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import (
    MANIFEST_NAME,
    PRETRAINED,
    WEIGHTS_NAME,
    CheckpointError,
    find_model,
    load_model,
    read_manifest,
    save_model,
)
from grasp_ros.models.protocol import Observation

NAME = 'two_room'


@pytest.fixture
def folder(tmp_path):
    """A copy of the committed model, to be spoilt."""
    shutil.copytree(PRETRAINED / NAME, tmp_path / 'model')
    return tmp_path / 'model'


def edit(folder, change):
    """Change the manifest's JSON in place."""
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite_weights(folder, change):
    """Change the tensors, and let the manifest know their SHA-256."""
    path = folder / WEIGHTS_NAME
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    sign(folder)


def sign(folder):
    digest = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    edit(folder, lambda manifest: manifest.update(weights_sha256=digest))


def refused(folder, culprit, *faults):
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert str(folder / culprit) in message
    for fault in faults:
        assert fault in message, message


def test_the_committed_model_loads():
    model, manifest = load_model(find_model(NAME))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert manifest.control_rate == pytest.approx(10.0)
    space = manifest.action_space
    assert space.kind is ActionKind.VELOCITY
    assert space.names == ('linear.x', 'linear.y')
    assert (space.low < space.high).all()
    images = torch.zeros(1, 2, 3, manifest.image.height, manifest.image.width)
    latents = model.encode(Observation(images))
    assert latents.shape == (1, 2, *model.latent_shape)
    assert torch.isfinite(latents).all()
    files = (PRETRAINED / NAME).iterdir()
    assert sum(path.stat().st_size for path in files) <= 10_000_000


def test_loading_draws_nothing_from_the_global_generator():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    load_model(find_model(NAME))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_model_can_be_loaded_in_float64():
    model, _ = load_model(find_model(NAME), dtype=torch.float64)
    assert model.dtype == torch.float64
    assert model.encode(Observation(torch.zeros(1, 1, 3, 64, 64))).dtype == torch.float64


def test_writing_and_loading_gives_the_same(tmp_path):
    model, manifest = load_model(find_model(NAME))
    written = save_model(
        tmp_path,
        model,
        image=manifest.image,
        model_dt=manifest.model_dt,
        frame_skip=manifest.frame_skip,
        action=manifest.action,
        calibration=manifest.calibration,
        training=manifest.training,
    )
    again, read = load_model(tmp_path)
    whole = asdict(model.config)
    assert manifest.architecture.items() <= whole.items(), 'sizes that it leaves out are defaults'
    assert read == written == manifest.model_copy(update={'architecture': whole})
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_commands_and_actions_are_each_others_inverse():
    space = read_manifest(find_model(NAME)).action_space
    commands = np.random.default_rng(0).normal(size=(4, 5, 1, 2))
    actions = space.normalise(commands)
    assert actions.shape == (4, 5, 2)
    assert space.denormalise(actions) == pytest.approx(commands)


def test_a_model_that_is_nowhere_names_those_that_come_along():
    with pytest.raises(CheckpointError, match='no_such_model') as caught:
        find_model('no_such_model')
    assert NAME in str(caught.value)


def test_a_folder_is_found(folder):
    assert find_model(str(folder)) == folder


@pytest.mark.parametrize('name', [MANIFEST_NAME, WEIGHTS_NAME])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, name, 'No such file')


def test_truncated_weights(folder):
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-1000])
    refused(folder, WEIGHTS_NAME, 'SHA-256', 'truncated')


@pytest.mark.parametrize('size', [0, 4, 100, 100_000])
def test_truncated_weights_with_the_right_sha(folder, size):
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:size])
    sign(folder)
    refused(folder, WEIGHTS_NAME, 'not a safetensors file')


def test_a_wrong_sha(folder):
    edit(folder, lambda manifest: manifest.update(weights_sha256='0' * 64))
    refused(folder, WEIGHTS_NAME, 'SHA-256', '0' * 64)


@pytest.mark.parametrize('value', ['', 'abc', 'Z' * 64, None, 5])
def test_a_sha_that_is_none(folder, value):
    edit(folder, lambda manifest: manifest.update(weights_sha256=value))
    refused(folder, MANIFEST_NAME, 'weights_sha256')


def test_tensors_of_another_shape(folder):
    edit(folder, lambda manifest: manifest['architecture'].update(hidden=128))
    refused(folder, WEIGHTS_NAME, 'architecture', 'predictor')


def test_a_missing_and_an_extra_tensor(folder):
    rewrite_weights(folder, lambda tensors: tensors.pop('mean_image'))
    refused(folder, WEIGHTS_NAME, 'mean_image')
    rewrite_weights(folder, lambda tensors: tensors.update(surprise=torch.zeros(1)))
    refused(folder, WEIGHTS_NAME, 'surprise')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(folder, value):
    rewrite_weights(folder, lambda tensors: tensors['predictor.0.bias'][:1].fill_(value))
    refused(folder, WEIGHTS_NAME, 'non-finite')


@pytest.mark.parametrize('name', ['kind', 'names', 'units', 'low', 'high', 'mean', 'std'])
def test_without_action_statistics(folder, name):
    edit(folder, lambda manifest: manifest['action'].pop(name))
    refused(folder, MANIFEST_NAME, f'action.{name}')


@pytest.mark.parametrize(
    'name', ['action', 'calibration', 'image', 'model_dt', 'frame_skip', 'history']
)
def test_without_a_part(folder, name):
    edit(folder, lambda manifest: manifest.pop(name))
    refused(folder, MANIFEST_NAME, name)


@pytest.mark.parametrize(
    ('path', 'value', 'fault'),
    [
        ('action.low', [-1.0], 'action.low'),
        ('action.low', [1.0, 1.0], 'below'),
        ('action.std', [0.0, 1.0], 'positive'),
        ('action.std', [-1.0, 1.0], 'positive'),
        ('action.std', ['wide', 1.0], 'action.std'),
        ('action.kind', 'speed', 'action.kind'),
        ('action.names', [], 'action.names'),
        ('image.height', 32, 'image'),
        ('image.height', 0, 'image.height'),
        ('image.fit', 'squeeze', 'image.fit'),
        ('history', 3, 'history'),
        ('frame_skip', 2, 'frame_skip'),
        ('frame_skip', 0, 'frame_skip'),
        ('model_dt', 0.0, 'model_dt'),
        ('model_dt', -0.1, 'model_dt'),
        ('model_dt', float('nan'), 'model_dt'),
        ('family', 'huge', 'family'),
        ('format', 'grasp_ros/9', 'format'),
        ('calibration.one_step_latent', 0.0, 'one_step_latent'),
        ('architecture.image_size', 0, 'architecture'),
        ('architecture.latent_dim', -1, 'architecture'),
        ('architecture.depth', 3, 'depth'),
        ('surprise', 1, 'surprise'),
        ('action.surprise', 1, 'surprise'),
    ],
)
def test_a_manifest_with_a_wrong_value(folder, path, value, fault):
    def change(manifest):
        *parents, last = path.split('.')
        for name in parents:
            manifest = manifest[name]
        manifest[last] = value

    edit(folder, change)
    refused(folder, MANIFEST_NAME, fault)


@pytest.mark.parametrize('content', [b'', b'{', b'not JSON', b'[]', b'null', b'\xff\xfe\x00'])
def test_a_manifest_that_is_not_json(folder, content):
    (folder / MANIFEST_NAME).write_bytes(content)
    refused(folder, MANIFEST_NAME)


def test_a_file_that_is_cut_short_after_loading_changes_nothing(tmp_path):
    folder = shutil.copytree(PRETRAINED / 'two_room', tmp_path / 'model')
    model, _ = load_model(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with (folder / WEIGHTS_NAME).open('r+b') as file:
        file.truncate(16)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
