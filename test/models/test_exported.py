"""Models exported with torch.export: trusted by content, checked in shape, and planned with."""

import shutil

import pytest
import torch
from torch import nn

from grasp_ros.models.checkpoint import MANIFEST_NAME, CheckpointError, load_model
from grasp_ros.models.convert import __main__ as convert
from grasp_ros.models.errors import TrustError, trusted_file
from grasp_ros.models.protocol import Observation, rollout
from grasp_ros.models.published.exported import ENCODER_NAME, PREDICTOR_NAME

STATISTICS = """{
  "action": {"kind": "velocity", "names": ["x", "y"], "units": ["m/s", "m/s"],
             "low": [-1, -1], "high": [1, 1], "mean": [0, 0], "std": [0.5, 0.5]},
  "control_rate": 10
}"""
FREE = {0: torch.export.Dim('N')}


class Encoder(nn.Module):
    """The mean colour: a latent (3,), or two tokens of it (2, 3)."""

    def __init__(self, tokens=0):
        super().__init__()
        self.tokens = tokens
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        mean = self.scale * images.mean(dim=(2, 3))
        return torch.stack([mean, -mean], dim=1) if self.tokens else mean


class Predictor(nn.Module):
    """The newest latent, moved by the last action along the first two components."""

    def __init__(self, noisy=False, deaf=False):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, affine=False) if noisy else None
        self.share = nn.Parameter(torch.tensor(0.0 if deaf else 0.25), requires_grad=False)

    def forward(self, latents, actions):
        moved = nn.functional.pad(self.share * actions[:, -1], (0, 1))
        newest = latents[:, -1]
        following = newest + (moved if newest.dim() == 2 else moved[:, None])
        return following if self.norm is None else self.norm(following)


def export(folder, encoder=None, predictor=None, history=2, free=FREE, tokens=0):
    """Write both programs; returns their paths."""
    folder.mkdir(exist_ok=True)
    shape = (2, 3) if tokens else (3,)
    images = (torch.zeros(2, 3, 6, 8),)
    window = torch.zeros(2, history, *shape), torch.zeros(2, history, 2)
    paths = folder / 'mine_encoder.pt2', folder / 'mine_predictor.pt2'
    programs = (encoder or Encoder(tokens)), (predictor or Predictor().eval())
    for path, program, inputs in zip(paths, programs, (images, window), strict=True):
        exported = torch.export.export(
            program, inputs, dynamic_shapes=tuple(free for _ in inputs)
        )
        torch.export.save(exported, path)
    return paths


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'configuration'))


@pytest.fixture(scope='module')
def programs(tmp_path_factory):
    return export(tmp_path_factory.mktemp('programs'))


def run(programs, output, *options):
    encoder, predictor = programs
    statistics = output.parent / 'statistics.json'
    statistics.write_text(STATISTICS)
    arguments = [encoder, output, '--predictor', predictor, '--statistics', statistics, *options]
    return convert.main([*map(str, arguments)])


def test_it_is_refused_converted_with_trust_and_predicts(tmp_path, programs, capsys):
    output = tmp_path / 'model'
    assert run(programs, output) == 2
    assert 'can run code' in capsys.readouterr().out
    assert not output.exists()
    assert run(programs, output, '--trust') == 0
    model, manifest = load_model(output)
    assert (model.latent_shape, model.history, model.action_dim) == ((3,), 2, 2)
    assert (manifest.image.height, manifest.image.width) == (6, 8)
    colour = torch.tensor([0.1, 0.2, 0.3])
    seen = model.encode(Observation(colour[:, None, None].expand(1, 2, 3, 6, 8)))
    torch.testing.assert_close(seen, (2 * colour).expand(1, 2, 3))
    actions = torch.ones(1, 4, 2, requires_grad=True)
    states = rollout(model, seen, torch.zeros(1, 1, 2), actions)
    torch.testing.assert_close(states[0, -1], 2 * colour + torch.tensor([1.0, 1.0, 0.0]))
    states[0, -1, 0].backward()
    torch.testing.assert_close(actions.grad[0, :, 0], torch.full((4,), 0.25))


def test_patch_tokens(tmp_path):
    programs = export(tmp_path / 'programs', tokens=2)
    assert run(programs, tmp_path / 'model', '--trust') == 0
    model, _ = load_model(tmp_path / 'model', dtype=torch.float64)
    assert model.latent_shape == (2, 3)
    following = model.predict(torch.zeros(5, 2, 2, 3).double(), torch.ones(5, 2, 2).double())
    assert following.shape == (5, 2, 3) and following.dtype == torch.float64


def test_a_folder_from_somebody_else_is_not_trusted(tmp_path, programs):
    output = tmp_path / 'model'
    assert run(programs, output, '--trust') == 0
    trusted_file().unlink()
    with pytest.raises(TrustError, match='--trust') as caught:
        load_model(output)
    assert str(output / ENCODER_NAME) in str(caught.value)


@pytest.mark.parametrize('name', [ENCODER_NAME, PREDICTOR_NAME])
def test_another_content_is_refused_before_it_is_loaded(tmp_path, programs, name):
    output = tmp_path / 'model'
    assert run(programs, output, '--trust') == 0
    with (output / name).open('ab') as file:
        file.write(b'more')
    with pytest.raises(CheckpointError, match='SHA-256') as caught:
        load_model(output)
    assert str(output / name) in str(caught.value)


def test_a_file_that_is_no_program(tmp_path, programs, capsys):
    path = tmp_path / 'predictor.pt2'
    path.write_bytes(b'no program')
    assert run((programs[0], path), tmp_path / 'model', '--trust') == 1
    assert 'not a program of torch.export' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'free': None}, 'a free first dimension'),
        ({'predictor': Predictor(deaf=True)}, 'does not depend on the actions'),
        ({'predictor': Predictor(noisy=True).train()}, 'in evaluation mode'),
        ({'encoder': nn.Flatten()}, 'takes (N, 2, 3) and (N, 2, 2) and gives (N, 3)'),
        ({'encoder': nn.Identity()}, 'gives (N, 3, 6, 8), not (N, D) or (N, P, D)'),
    ],
    ids=['free', 'deaf', 'training', 'latent', 'shape'],
)
def test_programs_that_are_no_world_model(tmp_path, capsys, options, expected):
    output = tmp_path / 'model'
    assert run(export(tmp_path / 'programs', **options), output, '--trust') == 1
    assert expected in capsys.readouterr().err
    assert not (output / MANIFEST_NAME).exists()


def test_the_manifests_shapes_must_be_the_programs(tmp_path, programs):
    output = tmp_path / 'model'
    assert run(programs, output, '--trust') == 0
    manifest = output / MANIFEST_NAME
    text = manifest.read_text()
    for before, after, fault in (
        ('"latent_dim": 3', '"latent_dim": 4', 'architecture'),
        ('"history": 2,\n  "model_dt"', '"history": 3,\n  "model_dt"', 'history'),
        ('"height": 6', '"height": 7', 'image'),
    ):
        assert before in text
        manifest.write_text(text.replace(before, after))
        with pytest.raises(CheckpointError, match=fault):
            load_model(output)
    shutil.rmtree(output)
