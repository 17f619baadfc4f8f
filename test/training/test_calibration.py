"""Calibration of goal distances: the curve, how it is measured, and the command that adds it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from grasp_ros.models.calibration import Calibration, DistanceCurve
from grasp_ros.models.checkpoint import MANIFEST_NAME, WEIGHTS_NAME, find_model, read_manifest
from grasp_ros.models.compact.model import CompactConfig
from grasp_ros.training.evaluation.calibrate import (
    Standing,
    calibrate_model,
    distance_curve,
    main,
    steady_starts,
    with_novelty,
)
from grasp_ros.training.losses.latents import EpisodeLatents

CURVE = DistanceCurve(
    steps=[0, 1, 2], median=[0.1, 1.0, 3.0], high=[0.3, 1.5, 4.0], noise=0.2, noise_ratio=0.1
)


@pytest.mark.parametrize(
    ('tolerance', 'reached', 'released'),
    [
        (0.0, 0.1, 0.3),
        (1.0, 1.0, 1.5),
        (1.5, 2.0, 2.75),
        (2.0, 3.0, 4.0),
        (4.0, 7.0, 9.0),
    ],
)
def test_the_curve_gives_the_bounds_of_a_tolerance(tolerance, reached, released):
    assert CURVE.reached(tolerance) == pytest.approx(reached)
    assert CURVE.released(tolerance) == pytest.approx(released)


def test_noise_alone_never_releases_a_goal():
    noisy = CURVE.model_copy(update={'noise': 5.0})
    assert noisy.released(1.0) == pytest.approx(6.0)


def test_bounds_never_fall_where_the_measured_curve_does():
    uneven = CURVE.model_copy(update={'median': [0.1, 1.0, 0.8]})
    assert uneven.reached(2.0) == uneven.reached(5.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    'wrong',
    [
        {'steps': [1, 2, 3]},
        {'steps': [0, 2, 1]},
        {'median': [0.1, 1.0]},
        {'high': [0.3, -1.5, 4.0]},
        {'median': [0.1, 1.0, 5.0]},
        {'noise': -1.0},
        {'noise_ratio': float('nan')},
    ],
)
def test_a_curve_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        DistanceCurve(**{**CURVE.model_dump(), **wrong})


def test_steady_motion_goes_on_in_one_direction_within_one_episode():
    right, up, still, slow = [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.4, 0.0]
    fractions = np.array([right, right, up, up, still, slow, slow, right, right, right, still])
    lengths = np.array([8, 1])
    assert steady_starts(fractions, lengths, 1).tolist() == [0, 1, 2, 3, 7, 9]
    assert steady_starts(fractions, lengths, 2).tolist() == [0, 2]
    assert steady_starts(fractions, lengths, 3).tolist() == []


def moving(fractions):
    """A dataset whose robot was told these fractions (N, 2) of its greatest velocity."""
    return SimpleNamespace(command_fractions=lambda: fractions)


def test_the_curve_is_that_of_the_recorded_motion():
    fractions = np.tile([1.0, 0.0], (5, 1))
    latents = EpisodeLatents.of(torch.tensor([[[0.0], [0.5], [1.0], [1.5], [2.0]]]))
    place = torch.zeros(1, 1)
    standing = Standing(place, place + 0.125, place + 0.5, place + 2.0)
    curve = distance_curve(lambda a, b: (a - b).abs()[:, 0], latents, moving(fractions), standing)
    assert curve.steps == [0, 1, 2, 3, 4]
    assert curve.median == curve.high == [0.125, 0.5, 1.0, 1.5, 2.0]
    assert curve.noise == 0.125
    assert curve.noise_ratio == pytest.approx(0.125 / 2.0)


def test_a_robot_that_stands_cannot_calibrate():
    still = np.zeros((5, 2))
    place = torch.zeros(1, 1)
    with pytest.raises(ValueError, match='hardly moves'):
        distance_curve(
            lambda a, b: (a - b).abs()[:, 0],
            EpisodeLatents.of(torch.zeros(1, 5, 1)),
            moving(still),
            Standing(place, place, place, place),
        )


def test_a_model_is_calibrated_by_touching_nothing_else(tmp_path):
    shutil.copytree(find_model('two_room'), tmp_path / 'model')
    path = tmp_path / 'model' / MANIFEST_NAME
    before = json.loads(path.read_text())
    measured = {'latent', 'time_to_reach', 'reconstruction_bound', 'off_manifold_bound'}
    for name in measured:
        before['calibration'].pop(name, None)
    path.write_text(json.dumps(before))
    assert read_manifest(tmp_path / 'model').calibration.latent is None
    weights = (tmp_path / 'model' / WEIGHTS_NAME).read_bytes()
    calibrate_model(tmp_path / 'model', episodes=20, length=20)
    assert (tmp_path / 'model' / WEIGHTS_NAME).read_bytes() == weights
    after = json.loads(path.read_text())
    for name in ('latent', 'time_to_reach'):
        curve = DistanceCurve(**after['calibration'].pop(name))
        assert 0 < curve.reached(1.0) < curve.reached(3.0)
        assert curve.reached(1.0) < curve.released(1.0)
        one_step = after['calibration'][f'one_step_{name}']
        assert curve.reached(1.0) == pytest.approx(one_step, rel=0.5)
    assert 0.008 < after['calibration'].pop('reconstruction_bound') < 0.03  # noise alone is 0.0078
    assert 0.5 < after['calibration'].pop('off_manifold_bound') < 2.0
    assert after == before


def test_the_command_needs_a_task(tmp_path, capsys):
    shutil.copytree(find_model('two_room'), tmp_path / 'model')
    path = tmp_path / 'model' / MANIFEST_NAME
    manifest = json.loads(path.read_text())
    manifest['training'] = {}
    path.write_text(json.dumps(manifest))
    assert main(['--model', str(tmp_path / 'model')]) == 2
    assert '--task' in capsys.readouterr().err


def test_the_command_needs_a_model(tmp_path, capsys):
    assert main(['--model', str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


class Copier:
    """Encodes a image to its mean and paints a image of that; no denoiser."""

    knows_manifold = False
    device = torch.device('cpu')
    config = CompactConfig()

    def embed(self, images, proprioception=None):
        return images.mean(dim=(1, 2, 3))[:, None]

    def decode(self, latents):
        return latents[:, :, None, None].expand(-1, 3, 4, 4)


class Images:
    """Grey images whose left half is darker by the episode's number in thousandths."""

    lengths = np.full(10, 5)

    def images(self, episodes, steps):
        images = torch.full((len(episodes), 3, 4, 4), 0.5)
        images[..., :2] -= torch.from_numpy(episodes).float()[:, None, None, None] / 1000
        return images


def test_the_bound_of_novelty_is_what_few_familiar_images_exceed():
    calibration = Calibration(one_step_latent=1.0)
    bounded = with_novelty(calibration, Copier(), Images(), np.random.default_rng(0))
    # The halves of the most extreme tenth differ from their mean by 4.5 thousandths; a camera's
    # noise of 2 levels adds up to at least as much as it is on average.
    assert np.hypot(0.0045, 2 / 255) < bounded.reconstruction_bound < 2 * np.hypot(0.0045, 2 / 255)
    assert bounded.off_manifold_bound is None
    assert bounded.one_step_latent == 1.0
