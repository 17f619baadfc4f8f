"""Foreign checkpoints: refused where they are not trusted, and converted without running them."""

import json
import os
import pickle
import shutil
import types

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from grasp_ros.control.factory import build_stack
from grasp_ros.control.types import State
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.checkpoint import (
    MANIFEST_NAME,
    WEIGHTS_NAME,
    CheckpointError,
    find_model,
    load_model,
)
from grasp_ros.models.convert import __main__ as convert
from grasp_ros.models.convert import pickled
from grasp_ros.models.convert.dino_wm_checkpoint import convert as from_dino_wm
from grasp_ros.models.convert.foreign import check_weights
from grasp_ros.models.convert.pickled import StandIn, pickle_globals, read_checkpoint
from grasp_ros.models.protocol import Observation
from grasp_ros.parameters.table import node_parameters
from harness.foreign import (
    TRUE,
    TRUE_VIT,
    Hostile,
    dino_wm_checkpoint,
    dinov2_weights,
)

STATISTICS = {
    'action': {
        'kind': 'velocity',
        'names': ['x', 'y'],
        'units': ['m/s', 'm/s'],
        'low': [-1.0, -2.0],
        'high': [1.0, 2.0],
        'mean': [0.1, 0.0],
        'std': [0.5, 1.0],
    },
    'proprioception': {
        'names': ['a', 'b', 'c', 'd'],
        'units': ['rad'] * 4,
        'mean': [0.0] * 4,
        'std': [1.0] * 4,
    },
    'control_rate': 10.0,
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A checkpoint of DINO-WM in its folder, and a DINOv2."""
    return tmp_path_factory.mktemp('foreign')


@pytest.fixture(scope='module')
def original(folder):
    """The checkpoint's path, and the modules in it."""
    return dino_wm_checkpoint(folder / 'dino_wm')


@pytest.fixture(scope='module')
def checkpoint(original):
    return original[0]


@pytest.fixture(scope='module')
def encoder(folder):
    return dinov2_weights(folder / 'dinov2.safetensors')


@pytest.fixture(scope='module')
def model_folder(folder, checkpoint, encoder):
    """What the command makes of both."""
    output = folder / 'model'
    options = ('--trust', '--task', 'pusht', '--encoder-weights', encoder)
    assert run(checkpoint, output, *options) == 0
    return output


@pytest.fixture(scope='module')
def contents(checkpoint):
    return read_checkpoint(checkpoint, trust=True)


def run(checkpoint, output, *options):
    return convert.main([str(checkpoint), str(output), *map(str, options)])


def settings_of(checkpoint):
    return yaml.safe_load((checkpoint.parent.parent / 'hydra.yaml').read_text())


def test_the_loader_refuses_the_checkpoint_and_names_the_command(checkpoint):
    for given in (checkpoint, checkpoint.parent):
        with pytest.raises(CheckpointError, match=r'grasp_ros\.models\.convert'):
            find_model(str(given))


def test_the_loader_refuses_it_under_the_name_of_weights(tmp_path, checkpoint, model_folder):
    spoilt = shutil.copytree(model_folder, tmp_path / 'model')
    shutil.copyfile(checkpoint, spoilt / WEIGHTS_NAME)
    manifest = json.loads((spoilt / MANIFEST_NAME).read_text())
    manifest['weights_sha256'] = manifest['training']['source_sha256']
    (spoilt / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match='not a safetensors file'):
        load_model(spoilt)


def test_without_trust_it_is_refused_with_what_it_names(tmp_path, checkpoint, encoder, capsys):
    status = run(checkpoint, tmp_path / 'model', '--task', 'pusht', '--encoder-weights', encoder)
    said = capsys.readouterr()
    assert status == 2
    assert '--trust' in said.err and str(checkpoint) in said.err
    for name in ('models.vit.ViTPredictor', 'accelerate.optimizer.AcceleratedOptimizer'):
        assert name in said.out
    assert not (tmp_path / 'model').exists()


def test_converted_it_has_the_checkpoints_weights(original, encoder, model_folder):
    model, manifest = load_model(model_folder)
    weights = model.state_dict()
    for name, part in original[1].items():
        for key, value in part.state_dict().items() if name != 'decoder' else ():
            assert torch.equal(weights[f'{name}.{key}'], value), key
    for key, value in load_file(encoder).items():
        assert key == 'mask_token' or torch.equal(weights[f'encoder.{key}'], value)
    assert (model.history, model.action_dim, model.latent_shape) == (3, 10, (4, 74))
    assert (model.config.heads, model.config.head_width) == (2, 4)
    assert (manifest.frame_skip, manifest.control_rate) == (5, pytest.approx(10.0))
    assert manifest.action.kind is ActionKind.RELATIVE
    assert manifest.action.std == [0.2019, 0.2002]
    assert manifest.proprioception.mean == [236.6155, 264.5674, -2.9303, 2.5431]
    assert (manifest.image.height, model.encoder_image_size) == (32, 28)


def test_converted_it_plans_for_the_node(model_folder):
    params = node_parameters({
        'model': str(model_folder), 'device': 'cpu', 'planner.deadline': 0.0,
        'planner.horizon': 8, 'max_plan_age': 1.5, 'grasp.iterations': 3,
        'grasp.max_rows_per_call': 5, 'grasp.proposals': 2,
    })  # fmt: skip
    stack = build_stack(params)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (2, 48, 64, 3), np.uint8)
    controller = stack.controller

    def see(stamp_ns):
        controller.observe(pictures[0], stamp_ns)
        controller.add_measurement('proprioception', np.array([200.0, 300.0, 0.0, 0.0]), stamp_ns)

    controller.set_goal(pictures[1])
    see(10**9)
    report = controller.plan(10**9)
    assert report.state is State.RUNNING, report.reason
    assert report.plan.actions.shape == (1, 8, 10)
    assert torch.isfinite(report.plan.rollout).all()
    states = set()
    for tick in range(1, 10):
        see(10**9 + tick * 10**8)
        command = controller.command(10**9 + tick * 10**8)
        states.add(command.state)
        assert command.action is None or (np.abs(command.action) <= 1.0).all()
    assert State.RUNNING in states, states


def test_what_a_hostile_file_calls_is_named_and_never_run(tmp_path, encoder, capsys):
    markers = [tmp_path / name for name in ('system', 'exec', 'eval')]
    checkpoint, _ = dino_wm_checkpoint(
        tmp_path / 'dino_wm',
        system=Hostile(os.system, f'touch {markers[0]}'),
        exec=Hostile(exec, f'open("{markers[1]}", "w")'),
        eval=Hostile(eval, f'open("{markers[2]}", "w")'),
    )
    options = ('--trust', '--task', 'pusht', '--encoder-weights', encoder)
    assert run(checkpoint, tmp_path / 'model', *options) == 0
    said = capsys.readouterr().out
    for name in ('posix.system', 'builtins.exec', 'builtins.eval'):
        assert name in said.replace('__builtin__', 'builtins')
    assert not any(marker.exists() for marker in markers)
    torch.load(checkpoint, weights_only=False, pickle_module=careless_pickle())
    assert all(marker.exists() for marker in markers), 'else this test could not fail'


def careless_pickle():
    """The module pickle, with stand-ins for nothing but what is not installed."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if module.startswith(('models', 'accelerate')):
                return type(name, (StandIn,), {})
            return super().find_class(module, name)

    module = types.ModuleType('careless')
    module.Unpickler = Unpickler
    return module


def test_a_name_that_was_hidden_from_the_listing_is_refused(tmp_path, checkpoint, monkeypatch):
    listed = pickled.pickle_globals
    monkeypatch.setattr(
        pickled, 'pickle_globals', lambda *given: [n for n in listed(*given) if 'Softmax' not in n]
    )
    with pytest.raises(CheckpointError, match=r'Softmax was not announced'):
        read_checkpoint(checkpoint, trust=True)


def test_names_put_together_on_the_stack_are_announced(tmp_path):
    """Protocol 4 names functions by strings on its stack, some of them remembered from before."""
    path = tmp_path / 'four.pth'
    value = ['posix', 'system', Hostile(os.system, 'true'), Hostile(os.popen, 'true')]
    torch.save(value, path, pickle_protocol=4)
    assert {'posix.system', 'os.popen'} <= set(pickle_globals(path.read_bytes(), 'four.pth'))


def test_a_plain_state_dict_needs_no_trust_and_statistics_may_come_from_a_file(
    tmp_path, original
):
    checkpoint = tmp_path / 'model.pth'
    torch.save({name: part.state_dict() for name, part in original[1].items()}, checkpoint)
    hydra = tmp_path / 'hydra.yaml'
    hydra.write_text(yaml.safe_dump(settings_of(original[0]) | {'predictor': {'heads': 2}}))
    statistics = tmp_path / 'statistics.json'
    statistics.write_text(json.dumps(STATISTICS))
    output = tmp_path / 'out'
    options = ('--statistics', statistics, '--one-step-latent', 0.25)
    encoder = dinov2_weights(tmp_path / 'dinov2.pth')
    assert run(checkpoint, output, *options, '--encoder-weights', encoder) == 0
    model, manifest = load_model(output)
    assert model.config.heads == 2
    assert manifest.action.high == [1.0, 2.0]
    assert manifest.calibration.one_step_latent == 0.25


def test_without_statistics_nothing_is_converted(tmp_path, checkpoint, encoder, capsys):
    with pytest.raises(SystemExit) as ended:
        run(checkpoint, tmp_path / 'model', '--trust', '--encoder-weights', encoder)
    assert ended.value.code == 2
    assert '--task' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({'num_hist': 5}, r'predictor\.pos_embedding has 12 positions'),
        ({'num_hist': None}, 'num_hist'),
        ({'concat_dim': 0}, 'concat_dim 0'),
        ({'num_action_repeat': 7}, 'num_action_repeat 7'),
    ],
)
def test_settings_that_do_not_fit(checkpoint, contents, encoder, change, expected):
    settings = settings_of(checkpoint) | change
    with pytest.raises(CheckpointError, match=f'here.*{expected}'):
        from_dino_wm(contents, settings, load_file(encoder), 'here')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (('--task', 'wall'), 'the statistics are of 2'),
        (('--task', 'pusht', '--frame-skip', 4), 'an action of the model has 10 components'),
        (('--task', 'pusht'), 'normalize_action'),
    ],
)
def test_statistics_that_do_not_fit(
    tmp_path, checkpoint, contents, encoder, capsys, monkeypatch, options, expected
):
    monkeypatch.setattr(convert, 'read_checkpoint', lambda *given: contents)
    hydra = tmp_path / 'hydra.yaml'
    changed = {'normalize_action': expected != 'normalize_action'}
    hydra.write_text(yaml.safe_dump(settings_of(checkpoint) | changed))
    output = tmp_path / 'model'
    given = ('--encoder-weights', encoder, '--config', hydra)
    assert run(checkpoint, output, *options, *given) == 1
    assert expected in capsys.readouterr().err
    assert not output.exists()


def test_without_an_encoder(checkpoint, contents):
    with pytest.raises(CheckpointError, match='--encoder-weights'):
        from_dino_wm(contents, settings_of(checkpoint), None, 'here')


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (lambda weights: weights.pop('blocks.1.ls1.gamma'),
         'encoder.blocks.1.ls1.gamma is missing'),
        (lambda weights: weights.update(register_tokens=torch.zeros(1, 4, 64)),
         'encoder.register_tokens is not known'),
        (lambda weights: weights.update({'norm.bias': torch.zeros(63)}),
         r'encoder.norm.bias has shape \(63,\), not \(64,\)'),
        (lambda weights: weights['norm.bias'].fill_(torch.nan), 'encoder.norm.bias is not finite'),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(checkpoint, contents, encoder, spoil, expected):
    weights = load_file(encoder)
    spoil(weights)
    found = from_dino_wm(contents, settings_of(checkpoint), weights, 'here')
    with pytest.raises(CheckpointError, match=f'here.*{expected}'):
        check_weights(found, 'here')


@pytest.mark.parametrize('content', [b'', b'PK', b'\x80\x02.', b'no checkpoint at all'])
def test_a_file_that_is_no_checkpoint(tmp_path, encoder, capsys, content):
    checkpoint = tmp_path / 'model.pth'
    checkpoint.write_bytes(content)
    output = tmp_path / 'model'
    assert run(checkpoint, output, '--task', 'pusht', '--encoder-weights', encoder) == 1
    assert str(checkpoint) in capsys.readouterr().err
    assert not output.exists()


def test_the_encoder_from_the_hub(tmp_path, checkpoint, contents, monkeypatch):
    """What is downloaded is numbers alone; here from a file, on the way that real ones come."""
    monkeypatch.setattr(convert, 'read_checkpoint', lambda *given: contents)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    published = dinov2_weights(tmp_path / 'published.pth')
    monkeypatch.setattr(convert, 'DINOV2_URL', published.as_uri())
    output = tmp_path / 'model'
    assert run(checkpoint, output, '--task', 'pusht', '--encoder-from-hub') == 0
    weights = load_model(output)[0].state_dict()
    expected = torch.load(published, weights_only=True)
    assert torch.equal(weights['encoder.pos_embed'], expected['pos_embed'])
    torch.save(Hostile(os.system, 'true'), published)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'other_cache'))
    assert run(checkpoint, tmp_path / 'no', '--task', 'pusht', '--encoder-from-hub') == 1


@pytest.mark.slow
def test_at_the_published_sizes(tmp_path):
    """196 tokens of 384 + 10 + 10 components, ViT-S/14, as published for Push-T."""
    checkpoint, _ = dino_wm_checkpoint(tmp_path / 'dino_wm', TRUE)
    encoder = dinov2_weights(tmp_path / 'dinov2.pth', TRUE_VIT)
    options = ('--trust', '--task', 'pusht', '--encoder-weights', encoder)
    assert run(checkpoint, tmp_path / 'model', *options) == 0
    model, _ = load_model(tmp_path / 'model')
    assert type(model.config)() == model.config, 'the defaults are the published sizes'
    with torch.no_grad():
        latents = model.encode(Observation(torch.rand(1, 3, 3, 224, 224)))
        assert latents.shape == (1, 3, 196, 394)
        assert model.predict(latents, torch.zeros(1, 3, 10)).shape == (1, 196, 394)
