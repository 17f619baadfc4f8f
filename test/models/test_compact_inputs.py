"""The compact model with proprioception and several cameras."""

import json

import numpy as np
import pytest
import torch

from grasp_ros.models.checkpoint import (
    MANIFEST_NAME,
    PRETRAINED,
    CheckpointError,
    load_model,
    read_manifest,
    save_model,
)
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.protocol import Observation, linearise, side_by_side
from grasp_ros.planning.objective import goal_distance, gradient_by_autograd

SMALL = {
    'image_size': 16, 'latent_dim': 6, 'hidden': 16, 'channels': 4, 'reach_groups': 2,
    'reach_group_size': 4, 'reach_hidden': 16, 'encoder_hidden': 16,
}  # fmt: skip
SPACE = {'names': ['vx', 'vy'], 'units': ['m/s'] * 2, 'mean': [0.0, 0.5], 'std': [1.0, 2.0]}


def model(**changes):
    torch.manual_seed(3)
    return CompactModel(CompactConfig(**{**SMALL, **changes})).double().requires_grad_(False)


def pictures(*shape):
    generator = torch.Generator().manual_seed(4)
    return torch.rand(*shape, 3, 16, 16, generator=generator, dtype=torch.float64)


def saved(folder, made, **changes):
    limit = {'low': [-1.0] * 2, 'high': [1.0] * 2, 'mean': [0.0] * 2, 'std': [0.5] * 2}
    fields = {
        'image': {'height': 16, 'width': 16},
        'model_dt': 0.1,
        'frame_skip': 1,
        'action': {'kind': 'velocity', 'names': ['x', 'y'], 'units': ['m/s'] * 2, **limit},
        'calibration': {'one_step_latent': 0.1},
    }
    return save_model(folder, made.float(), **{**fields, **changes})


def test_latents_end_with_the_normalised_proprioception_and_begin_as_without():
    made = model(proprioception=2)
    proprioception = torch.tensor([[[0.5, -2.0], [1.0, 0.0]]], dtype=torch.float64)
    latents = made.encode(Observation(pictures(1, 2), proprioception))
    assert latents.shape == (1, 2, 8)
    assert torch.equal(latents[..., 6:], proprioception)
    goal = made.encode(Observation(pictures(1, 2)))
    assert torch.equal(goal[..., :6], latents[..., :6])


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
def test_the_proprioception_of_a_goal_changes_no_distance_but_that_of_now_may(kind):
    made = model(proprioception=2)
    distance = goal_distance(made, kind)
    generator = torch.Generator().manual_seed(1)
    now, goal = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    other = torch.cat([goal[:, :6], torch.ones(5, 2, dtype=torch.float64)], dim=1)
    assert torch.equal(distance(now, goal), distance(now, other))
    faster = now + torch.tensor([0.0] * 6 + [1.0, 0.0], dtype=torch.float64)
    assert torch.equal(distance(now, goal), distance(faster, goal)) == (kind == 'latent')


@pytest.mark.parametrize('kind', ['latent', 'time_to_reach'])
@pytest.mark.parametrize('proprioception', [0, 2])
def test_the_quick_gradients_are_those_of_autograd(kind, proprioception):
    made = model(proprioception=proprioception)
    distance = goal_distance(made, kind)
    generator = torch.Generator().manual_seed(2)
    now = torch.randn(3, 4, 6 + proprioception, generator=generator, dtype=torch.float64)
    goal = torch.randn(3, 1, 6 + proprioception, generator=generator, dtype=torch.float64)
    quick, slow = distance.with_gradient(now, goal), gradient_by_autograd(distance, now, goal)
    for first, second in zip(quick, slow, strict=True):
        assert torch.allclose(first, second, atol=1e-12)


def test_the_predictor_goes_on_with_proprioception():
    made = model(proprioception=2)
    latents, actions = torch.zeros(3, 1, 8).double(), torch.zeros(3, 1, 2).double()
    predicted, pullback = linearise(made, latents, actions)
    assert predicted.shape == (3, 8)
    of_latents, of_actions = pullback(torch.ones(3, 8).double())
    assert of_latents.shape == latents.shape and of_actions.shape == actions.shape
    latents[:, 0, 7] = 1.0
    assert not torch.allclose(made.predict(latents, actions)[:, :6], predicted[:, :6])


@pytest.mark.parametrize('keypoints', [0, 3])
def test_two_cameras_are_one_latent_that_depends_on_each_and_on_their_order(keypoints):
    made = model(cameras=2, keypoints=keypoints)
    shown = pictures(4, 2)
    made.fit_images(shown)
    latents = made.encode(Observation(shown[None]))[0]
    assert latents.shape == (4, 6)
    for camera in range(2):
        changed = shown.clone()
        changed[:, camera] = 0.5
        assert not torch.allclose(made.embed(changed), latents)
    assert not torch.allclose(made.embed(shown.flip(1)), latents)
    assert made.decode(latents).shape == (4, 3, 16, 32)


def test_cameras_stand_side_by_side():
    shown = pictures(2, 3)
    joined = side_by_side(shown)
    assert torch.equal(joined[1, :, :, 16:32], shown[1, 1])
    assert side_by_side(joined) is joined


def test_a_model_with_both_comes_back_from_disk_with_what_the_manifest_says(tmp_path):
    made = model(cameras=2, proprioception=2)
    saved(tmp_path, made, cameras=['wrist', 'front'], proprioception=SPACE)
    loaded, manifest = load_model(tmp_path)
    assert manifest.inputs.names == ('wrist', 'front', 'proprioception')
    assert manifest.inputs.proprioception.normalise(np.array([1.0, 2.5])).tolist() == [1.0, 1.0]
    observation = Observation(pictures(1, 1, 2).float(), torch.zeros(1, 1, 2))
    assert torch.equal(loaded.encode(observation), made.encode(observation))


def test_a_manifest_from_before_says_one_camera_and_no_proprioception():
    inputs = read_manifest(PRETRAINED / 'two_room').inputs
    assert len(inputs.cameras) == 1 and inputs.proprioception is None


@pytest.mark.parametrize(
    ('changes', 'fault'),
    [
        ({'cameras': ['a']}, r'cameras is 1, but the architecture\s+makes it 2'),
        ({'proprioception': None}, 'proprioception.names is 0, but the architecture makes it 2'),
        ({'cameras': ['a', 'a']}, 'different names'),
        ({'cameras': ['a', 'proprioception']}, "camera 'proprioception': a name has letters"),
        ({'cameras': ['a', 'b/c']}, "camera 'b/c': a name has letters"),
        ({'proprioception': {**SPACE, 'std': [1.0, 0.0]}}, 'proprioception.std must be positive'),
        ({'proprioception': {**SPACE, 'mean': [1.0]}}, 'proprioception.mean needs 2 entries'),
        ({'proprioception': {**SPACE, 'names': ['v', 'v']}}, 'proprioception.names must differ'),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, changes, fault):
    saved(tmp_path, model(cameras=2, proprioception=2),
          cameras=['wrist', 'front'], proprioception=SPACE)  # fmt: skip
    path = tmp_path / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=fault):
        load_model(tmp_path)
