"""The encoder's keypoints say where a thing is."""

import math

import pytest
import torch
from torch import nn

from grasp_ros.models.calibration import Calibration
from grasp_ros.models.checkpoint import load_model
from grasp_ros.models.compact.model import SPREAD, CompactConfig, CompactModel, KeypointEncoder
from grasp_ros.training.data.simulated import record
from grasp_ros.training.pipeline import write
from grasp_ros.training.recipes import RECIPES

SIZE, CELL = 32, 4


def set_to(layer, weight, bias=0.0):
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.fill_(bias)


def locator(sharpness):
    """Return an encoder whose two outputs are the place of what is bright."""
    plain = nn.Sequential(
        nn.Conv2d(1, 1, CELL, stride=CELL), nn.Identity(), nn.Conv2d(1, 1, 1), nn.Identity(),
        nn.Flatten(), nn.Linear((SIZE // CELL) ** 2, 3), nn.SiLU(), nn.Linear(3, 2),
    )  # fmt: skip
    encoder = KeypointEncoder(plain, 1, SIZE // CELL)
    set_to(plain[0], torch.full((1, 1, CELL, CELL), 1 / CELL**2))
    set_to(plain[2], torch.ones(1, 1, 1, 1))
    one_cell = torch.zeros(1, 1, 3, 3)
    one_cell[..., 1, 1] = 1.0
    set_to(encoder.heat, one_cell)
    set_to(encoder.output, torch.zeros(2, 3))
    set_to(encoder.to_output, torch.eye(2))
    with torch.no_grad():
        encoder.log_sharpness.fill_(math.log(sharpness))
    return encoder


def picture(column, row, brightness=1.0):
    image = torch.zeros(1, 1, SIZE, SIZE)
    image[..., row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = brightness
    return image


@pytest.mark.parametrize(('column', 'row'), [(0, 0), (7, 0), (2, 5)])
def test_a_keypoint_is_where_the_feature_is_strongest(column, row):
    found = locator(sharpness=100.0)(picture(column, row))[0]
    expected = [SPREAD * ((2 * place + 1) / 8 - 1) for place in (column, row)]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


def test_between_two_equal_places_it_is_in_the_middle():
    found = locator(sharpness=100.0)(picture(2, 5) + picture(4, 5))[0]
    assert found.tolist() == pytest.approx([SPREAD * (7 / 8 - 1), SPREAD * (11 / 8 - 1)], abs=1e-3)


def test_without_any_feature_it_is_in_the_middle_of_the_picture():
    assert locator(sharpness=100.0)(picture(0, 0, 0.0))[0].tolist() == pytest.approx([0.0, 0.0])


def test_a_model_with_keypoints_is_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    model = CompactModel(CompactConfig(keypoints=4, channels=4)).eval()
    motion = record(RECIPES['two_room'], 1, 2, 5, 0)
    calibration = Calibration(one_step_latent=1.0, one_step_time_to_reach=1.0)
    write(tmp_path, model, motion, calibration, {})
    loaded, _ = load_model(tmp_path)
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.embed(images), model.embed(images))


def test_keypoints_change_no_other_weight():
    def rest(keypoints):
        torch.manual_seed(0)
        model = CompactModel(CompactConfig(keypoints=keypoints, manifold_hidden=8))
        return [model.predictor, model.reach_embedding, model.decoder, model.denoiser]

    for with_keypoints, without in zip(rest(4), rest(0), strict=True):
        for first, second in zip(
            with_keypoints.parameters(), without.parameters(), strict=True
        ):
            assert torch.equal(first, second)
