"""Our networks of published models against the numbers that the published code gives.

All weights and inputs are the same sine waves; expected numbers were computed once with the code of
facebookresearch/dinov2 and facebookresearch/jepa-wms (DINO-WM's predictor is there, too).
"""

import pytest
import torch

from grasp_ros.models.protocol import Observation
from grasp_ros.models.published.dino_wm import DinoWm, DinoWmConfig
from grasp_ros.models.published.jepa_wm import JepaWm, JepaWmConfig, rotate, rotations
from grasp_ros.models.published.le_wm import LeWm, LeWmConfig
from grasp_ros.models.published.transformer import FrameTransformer, VisionTransformer
from harness.published import MODELS, TINY_DINO_WM, TINY_JEPA_WM, TINY_LE_WM, build

IDS = ['dino_wm', 'jepa_wm', 'le_wm']


def wave(shape, phase, amplitude=1.0):
    count = torch.Size(shape).numel()
    angles = 0.7 * torch.arange(count, dtype=torch.float64) + phase
    return (amplitude * torch.sin(angles)).reshape(shape).float()


def with_waves(module, amplitude):
    """Weights of a module by the alphabetical order of their names."""
    state = module.state_dict()
    for place, name in enumerate(sorted(state)):
        state[name] = wave(state[name].shape, place, amplitude)
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def test_the_vision_transformer_is_dinov2s():
    model = with_waves(VisionTransformer(8, 2, 2, 4, 4), 0.3)
    tokens = model(wave((1, 3, 12, 12), 0))
    assert tokens.shape == (1, 10, 8)
    expected = [-0.5484, -0.4656, -0.2506, 0.0522, 0.1756]
    assert tokens.flatten()[::17].tolist() == pytest.approx(expected, abs=1e-4)


def test_without_layer_scale_it_is_the_usual_transformer():
    torch.manual_seed(0)
    model = VisionTransformer(8, 1, 2, 4, 2, layer_scale=False, epsilon=1e-5).eval()
    usual = torch.nn.TransformerEncoderLayer(
        8, 2, 32, activation='gelu', batch_first=True, norm_first=True
    ).eval()
    ours = model.blocks[0].state_dict()
    usual.load_state_dict(
        {
            'self_attn.in_proj_weight': ours['attn.qkv.weight'],
            'self_attn.in_proj_bias': ours['attn.qkv.bias'],
            'self_attn.out_proj.weight': ours['attn.proj.weight'],
            'self_attn.out_proj.bias': ours['attn.proj.bias'],
            **{f'linear{n}.{end}': ours[f'mlp.fc{n}.{end}'] for n in (1, 2)
               for end in ('weight', 'bias')},
            **{f'norm{n}.{end}': ours[f'norm{n}.{end}'] for n in (1, 2)
               for end in ('weight', 'bias')},
        }
    )  # fmt: skip
    tokens = torch.randn(2, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.blocks[0](tokens), usual(tokens))


def test_the_predictor_is_dino_wms():
    model = with_waves(FrameTransformer(12, 2, 2, 4, 16, 3, 4), 0.3)
    following = model(wave((1, 12, 12), 2).unflatten(1, (3, 4)))
    assert following.shape == (1, 4, 12)
    expected = [-0.0174, -0.079, -0.2893, -0.2478, -0.5186, -0.1804, 0.3008, -0.2343, -0.1766,
                -0.0666]  # fmt: skip
    assert following.flatten()[::5].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_predictor_is_jepa_wms():
    model = JepaWm(TINY_JEPA_WM)
    with_waves(model.predictor, 1.0)
    with torch.no_grad():
        following = model.predict(wave((1, 2, 4, 10), 0), wave((1, 2, 4), 1))
    assert following.shape == (1, 4, 10)
    expected = [-6.8191, -9.1456, -8.3165, -1.0082, -1.8346, 0.0433, -0.8187, 8.8362, 7.6407,
                8.649, -6.812, -9.1397, -8.312, -1.0078]  # fmt: skip
    assert following.flatten()[::3].tolist() == pytest.approx(expected, abs=5e-4)


def test_dino_wm_lays_a_token_out_as_visual_proprioceptive_action():
    """Its predictor replaced by one that hands over its input."""
    model = build(DinoWm, TINY_DINO_WM)
    latents, actions = torch.randn(2, 3, 4, 10), torch.randn(2, 3, 4)
    given = []
    model.predictor.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    following = model.predict(latents, actions)
    assert following.shape == (2, 4, 10)
    (tokens,) = given
    assert torch.equal(tokens[..., :10], latents)
    weight, bias = model.action_encoder.patch_embed.parameters()
    embedded = actions @ weight[..., 0].T + bias
    torch.testing.assert_close(tokens[..., 10:], embedded[:, :, None].expand(-1, -1, 4, -1))


@pytest.mark.parametrize(('kind', 'config'), MODELS[:2], ids=IDS[:2])
def test_proprioception_follows_the_visual_components(kind, config):
    model = build(kind, config)
    images = torch.rand(1, 2, 3, config.image_size, config.image_size)
    proprioception = torch.randn(1, 2, config.proprioception)
    latents = model.encode(Observation(images, proprioception))
    assert latents.shape == (1, 2, *model.latent_shape)
    assert model.visual_width == 8
    without = model.encode(Observation(images))
    assert torch.equal(without[..., :8], latents[..., :8])
    assert not torch.isclose(without[..., 8:], latents[..., 8:]).any()
    mean = model.encode(Observation(images, torch.zeros_like(proprioception)))
    assert torch.equal(mean, without)
    with pytest.raises(ValueError, match='components'):
        model.encode(Observation(images, proprioception[..., 1:]))


@pytest.mark.parametrize(('kind', 'config'), MODELS, ids=IDS)
def test_predictions_depend_on_every_frame_and_action_and_can_be_differentiated(kind, config):
    model = build(kind, config).double()
    latents = torch.randn(1, model.history, *model.latent_shape, dtype=torch.float64)
    actions = torch.randn(1, model.history, model.action_dim, dtype=torch.float64)
    latents.requires_grad_(), actions.requires_grad_()
    model.predict(latents, actions).square().sum().backward()
    assert (latents.grad.flatten(2).abs().sum(dim=2) > 1e-6).all()
    assert (actions.grad.abs().sum(dim=2) > 1e-6).all()
    one_by_one = [
        model.predict(latents[rows], actions[rows]) for rows in (slice(0, 1), slice(0, 1))
    ]
    assert torch.equal(*one_by_one)


def test_encoding_normalises_as_stated():
    model = build(LeWm, TINY_LE_WM)
    images = torch.rand(1, 1, 3, 8, 8)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    plain = model.encode(Observation(0.5 + 0.5 * images))
    model.image_mean.copy_(mean)
    model.image_std.copy_(std)
    stretched = mean[:, None, None] + images * std[:, None, None]
    torch.testing.assert_close(model.encode(Observation(stretched)), plain)


def test_pictures_of_another_size_are_resized():
    model = build(DinoWm, TINY_DINO_WM)
    flat = torch.rand(1, 1, 3, 1, 1)
    small = model.encode(Observation(flat.expand(1, 1, 3, 8, 8)))
    torch.testing.assert_close(model.encode(Observation(flat.expand(1, 1, 3, 16, 16))), small)


@pytest.mark.parametrize(
    ('kind', 'config', 'latent', 'shapes'),
    [
        (DinoWm, DinoWmConfig(), (196, 394), {
            'encoder.pos_embed': (1, 1370, 384),
            'encoder.blocks.11.attn.qkv.weight': (1152, 384),
            'predictor.pos_embedding': (1, 588, 404),
            'predictor.transformer.layers.5.0.to_qkv.weight': (3072, 404),
            'predictor.transformer.layers.5.1.net.1.weight': (2048, 404),
            'action_encoder.patch_embed.weight': (10, 10, 1),
            'proprio_encoder.patch_embed.weight': (10, 4, 1),
        }),
        (JepaWm, JepaWmConfig(), (256, 400), {
            'predictor.action_encoder.weight': (400, 10),
            'predictor.predictor_blocks.5.adaLN_modulation.1.weight': (2400, 400),
            'predictor.predictor_blocks.5.mlp.fc1.weight': (1600, 400),
            'predictor.predictor_proj.weight': (384, 384),
            'proprio_encoder.patch_embed.weight': (16, 4, 1),
        }),
        (LeWm, LeWmConfig(), (192,), {
            'encoder.pos_embed': (1, 257, 192),
            'projector.net.1.running_mean': (2048,),
            'predictor.pos_embedding': (1, 3, 192),
            'predictor.transformer.layers.5.attn.to_qkv.weight': (3072, 192),
            'action_encoder.patch_embed.weight': (10, 10, 1),
            'action_encoder.embed.0.weight': (768, 10),
        }),
    ],
    ids=IDS,
)  # fmt: skip
def test_published_sizes(kind, config, latent, shapes):
    with torch.device('meta'):
        model = kind(config)
        latents = torch.zeros(5, model.history, *latent)
        following = model.predict(latents, torch.zeros(5, model.history, 10))
    assert model.latent_shape == latent
    assert following.shape == (5, *latent)
    state = model.state_dict()
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


@pytest.mark.parametrize(
    'change',
    [{'encoder_image_size': 200}, {'history': 4}, {'history': 0}],
)
def test_sizes_that_do_not_fit(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        DinoWmConfig(**change)


def test_turned_vectors_meet_by_where_they_are_to_each_other():
    """With one frequency an axis, turning is a rotation: dot products know differences only."""
    angles = rotations(frames=3, side=3, head_width=7)
    assert angles.shape == (27, 6)
    query, key = torch.randn(7), torch.randn(7)
    turned = [rotate(each.expand(27, 7), angles.cos(), angles.sin()) for each in (query, key)]
    products = turned[0] @ turned[1].T
    places = torch.cartesian_prod(*[torch.arange(3)] * 3)
    apart = places[:, None] - places[None]
    for difference in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, -1]):
        met = products[(apart == torch.tensor(difference)).all(dim=-1)]
        torch.testing.assert_close(met, met[:1].expand_as(met))
