"""JEPA-WM, its DINO-WM and LeWM: converted from each of the layouts that they are published in."""

import json

import pytest
import torch
from torch import nn

from grasp_ros.models.checkpoint import CheckpointError, load_model
from grasp_ros.models.convert import __main__ as convert
from grasp_ros.models.convert.le_wm_checkpoint import convert as from_le_wm
from grasp_ros.models.convert.pickled import Contents, pickle_globals, unpickle
from grasp_ros.models.published.dino_wm import DinoWm, DinoWmConfig
from grasp_ros.models.published.jepa_wm import JepaWm, JepaWmConfig
from grasp_ros.models.published.le_wm import LeWm, LeWmConfig
from harness.foreign import dinov2_weights

ENCODER = {'grid': 4, 'encoder_width': 64, 'encoder_depth': 2, 'encoder_heads': 1}
LE_WM = LeWmConfig(
    image_size=28, encoder_width=64, encoder_depth=2, encoder_heads=1, latent_dim=6,
    projector_hidden=12, action_dim=4, action_smooth=4, action_hidden=24, depth=2, heads=2,
    head_width=4, hidden=8,
)  # fmt: skip
STATISTICS = {
    'action': {
        'kind': 'velocity', 'names': ['x', 'y'], 'units': ['m/s', 'm/s'], 'low': [-1, -1],
        'high': [1, 1], 'mean': [0, 0], 'std': [1, 1],
    },
    'control_rate': 10,
}  # fmt: skip


@pytest.fixture
def statistics(tmp_path):
    path = tmp_path / 'statistics.json'
    path.write_text(json.dumps(STATISTICS))
    return path


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Spare the tests of layouts a process for each file."""

    def read(path, trust):
        content = path.read_bytes()
        names = pickle_globals(content, str(path)) if trust else []
        return Contents(*unpickle(content, names), sha256='')

    monkeypatch.setattr(convert, 'read_checkpoint', read)


def run(*arguments):
    return convert.main([*map(str, arguments)])


def randomised(model):
    torch.manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def state_of(model, *prefixes):
    """Each part's state dict, as parallel training names its tensors."""
    state = model.state_dict()
    return {
        prefix: {
            f'module.{name[len(prefix) + 1 :]}': value
            for name, value in state.items()
            if name.startswith(f'{prefix}.')
        }
        for prefix in prefixes
    }


def assert_same_weights(found, expected):
    for name, value in expected.state_dict().items():
        if not name.startswith(('encoder.', 'image_')):
            assert torch.equal(found.state_dict()[name], value), name


def test_jepa_wm(tmp_path):
    model = randomised(JepaWm(JepaWmConfig(**ENCODER, visual_width=32, depth=2, hidden=8)))
    checkpoint = tmp_path / 'jepa-latest.pth.tar'
    parts = state_of(model, 'predictor', 'proprio_encoder')
    torch.save({**parts, 'opt': {'state': {0: torch.zeros(2)}}, 'epoch': 3}, checkpoint)
    encoder = dinov2_weights(tmp_path / 'dinov2.safetensors')
    output = tmp_path / 'model'
    options = ('--task', 'pusht', '--encoder-weights', encoder)
    assert run(checkpoint, output, *options) == 0, 'numbers alone need no trust'
    found, manifest = load_model(output)
    assert found.config == model.config
    assert_same_weights(found, model)
    assert found.image_std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert (manifest.frame_skip, manifest.image.height) == (5, 224)


def test_dino_wm_as_jepa_wm_publishes_it(tmp_path):
    config = DinoWmConfig(
        **ENCODER, image_size=28, encoder_image_size=28, frames=4, history=2, action_width=20,
        depth=2, head_width=4, hidden=8,
    )  # fmt: skip
    model = randomised(DinoWm(config))
    checkpoint = tmp_path / 'jepa-latest.pth.tar'
    parts = state_of(model, 'predictor', 'action_encoder', 'proprio_encoder')
    mask = torch.ones(4, 4).tril().repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
    for layer in range(2):
        parts['predictor'][f'module.transformer.layers.{layer}.0.bias'] = mask
    torch.save({**parts, 'scaler': None, 'epoch': 3}, checkpoint)
    encoder = dinov2_weights(tmp_path / 'dinov2.safetensors')
    options = ('--task', 'pusht', '--encoder-weights', encoder)
    assert run(checkpoint, tmp_path / 'model', *options) == 0
    found, _ = load_model(tmp_path / 'model')
    assert found.config == config
    assert_same_weights(found, model)
    mask[..., 0, -1] = 1
    torch.save({**parts, 'epoch': 3}, checkpoint)
    assert run(checkpoint, tmp_path / 'other', *options) == 1, 'a mask of another model'


NEW_NAMES = {
    'embeddings.cls_token': (1, 1, 64),
    'embeddings.position_embeddings': (1, 5, 64),
    'embeddings.patch_embeddings.projection.weight': (64, 3, 14, 14),
    'embeddings.patch_embeddings.projection.bias': (64,),
    'layernorm.weight': (64,),
    'layernorm.bias': (64,),
}
LAYER = {
    'attention.q_proj': (64, 64), 'attention.k_proj': (64, 64), 'attention.v_proj': (64, 64),
    'attention.o_proj': (64, 64), 'mlp.fc1': (256, 64), 'mlp.fc2': (64, 256),
    'layernorm_before': (64,), 'layernorm_after': (64,),
}  # fmt: skip
OLD_LAYER = {
    'attention.q_proj': 'attention.attention.query', 'attention.k_proj': 'attention.attention.key',
    'attention.v_proj': 'attention.attention.value', 'attention.o_proj': 'attention.output.dense',
    'mlp.fc1': 'intermediate.dense', 'mlp.fc2': 'output.dense',
    'layernorm_before': 'layernorm_before', 'layernorm_after': 'layernorm_after',
}  # fmt: skip


def encoder_state(old):
    """The encoder as the library transformers names it, before its version 5 or since."""
    torch.manual_seed(5)
    state = {f'encoder.{name}': torch.randn(shape) for name, shape in NEW_NAMES.items()}
    for layer in range(2):
        for name, shape in LAYER.items():
            weight, bias = torch.randn(shape), torch.randn(shape[0])
            path = f'encoder.layer.{layer}.{OLD_LAYER[name]}' if old else f'layers.{layer}.{name}'
            state |= {f'encoder.{path}.weight': weight, f'encoder.{path}.bias': bias}
    return state


def le_wm_state(old):
    rest = randomised(LeWm(LE_WM)).state_dict()
    rest = {k: v for k, v in rest.items() if not k.startswith(('encoder.', 'image_'))}
    return rest | encoder_state(old)


@pytest.mark.parametrize('prefix', ['', 'model.'])
def test_le_wm_as_a_folder_of_weights(tmp_path, statistics, prefix):
    folder = tmp_path / 'le_wm'
    folder.mkdir()
    state = le_wm_state(old=False)
    torch.save({prefix + name: value for name, value in state.items()}, folder / 'weights.pt')
    (folder / 'config.json').write_text(
        json.dumps({'_target_': 'os.system', 'predictor': {'_target_': 'evil', 'heads': 2}})
    )
    assert run(folder / 'weights.pt', tmp_path / 'model', '--statistics', statistics) == 0
    found, manifest = load_model(tmp_path / 'model')
    assert found.config == LE_WM
    assert manifest.frame_skip == 2
    weights = found.state_dict()
    assert torch.equal(weights['predictor.pos_embedding'], state['predictor.pos_embedding'])
    together = [state[f'encoder.layers.1.attention.{n}_proj.weight'] for n in 'qkv']
    assert torch.equal(weights['encoder.blocks.1.attn.qkv.weight'], torch.cat(together))


def test_older_names_in_the_encoder_are_the_same_weights():
    settings = {'model': {'predictor': {'heads': 2}}}
    old, new = (
        from_le_wm(Contents(le_wm_state(each), {}, ''), settings, 'here').weights
        for each in (True, False)
    )
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_le_wm_without_heads_or_with_other_peoples_statistics(tmp_path, capsys):
    contents = Contents(le_wm_state(old=False), {}, '')
    with pytest.raises(CheckpointError, match=r'here.*config\.json'):
        from_le_wm(contents, None, 'here')
    path = tmp_path / 'weights.pt'
    torch.save(contents.tensors, path)
    assert run(path, tmp_path / 'model', '--task', 'pusht') == 1
    assert '--statistics' in capsys.readouterr().err


def test_le_wm_as_an_object_predicts_as_the_library_does(tmp_path, statistics):
    pytest.importorskip('gymnasium')
    from harness.stable_worldmodel import LeWM, module

    class Encoder(nn.Module):
        """Modules named as transformers 5 names them; what they compute is not asked for."""

    encoder = Encoder()
    for name, value in encoder_state(old=False).items():
        *path, last = name.split('.')[1:]
        owner = encoder
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(last, nn.Parameter(value))
    predictor = module.Predictor(
        num_frames=3, depth=2, heads=2, dim_head=4, mlp_dim=8, input_dim=6, hidden_dim=6
    )
    projectors = [
        module.MLP(size, 12, 6, norm_fn=nn.BatchNorm1d).eval() for size in (64, 6)
    ]
    library = LeWM(encoder, predictor, module.Embedder(input_dim=4, emb_dim=6), *projectors)
    for norm in (projector.net[1] for projector in projectors):
        nn.init.uniform_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2.0)
    randomised(library).eval()
    path = tmp_path / 'run_object.ckpt'
    Encoder.__qualname__ = 'Encoder'
    globals()['Encoder'] = Encoder
    torch.save(library, path)
    del globals()['Encoder']
    assert run(path, tmp_path / 'model', '--statistics', statistics, '--trust') == 0
    ours, _ = load_model(tmp_path / 'model')
    latents, actions = torch.randn(5, 3, 6), torch.randn(5, 3, 4)
    with torch.no_grad():
        expected = library.predict(latents, library.action_encoder(actions))[:, -1]
        torch.testing.assert_close(ours.predict(latents, actions), expected)
        cls = torch.randn(5, 64)
        torch.testing.assert_close(ours.projector(cls), library.projector(cls))


def test_something_else_is_refused_by_what_it_holds(tmp_path, capsys):
    path = tmp_path / 'other.pth'
    torch.save({'backbone.weight': torch.zeros(2)}, path)
    assert run(path, tmp_path / 'model', '--task', 'pusht') == 1
    assert 'backbone.weight' in capsys.readouterr().err
