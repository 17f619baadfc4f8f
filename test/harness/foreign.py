"""Checkpoints as other projects write them, with random weights and classes of the same names."""

import contextlib
import sys
import types

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from grasp_ros.models.published.transformer import VisionTransformer

TINY_VIT = {'width': 64, 'depth': 2, 'heads': 1, 'patch': 14, 'grid': 4}
TRUE_VIT = {'width': 384, 'depth': 12, 'heads': 6, 'patch': 14, 'grid': 37}
TINY = {'tokens': 4, 'visual': 64, 'depth': 2, 'heads': 2, 'head_width': 4, 'hidden': 16}
TRUE = {'tokens': 196, 'visual': 384, 'depth': 6, 'heads': 16, 'head_width': 64, 'hidden': 2048}
FRAMES, ACTION, PROPRIOCEPTION, EMBEDDED = 3, 10, 4, 10


@contextlib.contextmanager
def modules(**classes):
    """Classes of modules that exist only meanwhile, as those of a project that is not installed.

    Args:
        classes: by dotted name of the module and the class, with __ for each dot.
    """
    made = {}
    for dotted, each in classes.items():
        module, name = dotted.replace('__', '.').rsplit('.', 1)
        parts = module.split('.')
        for end in range(1, len(parts) + 1):
            part = '.'.join(parts[:end])
            made.setdefault(part, types.ModuleType(part))
        each.__module__, each.__qualname__, each.__name__ = module, name, name
        setattr(made[module], name, each)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


class ViTPredictor(nn.Module):
    """The layout of models.vit.ViTPredictor."""

    def __init__(self, sizes, width):
        super().__init__()
        places = FRAMES * sizes['tokens']
        self.pos_embedding = nn.Parameter(torch.randn(1, places, width))
        self.dropout = nn.Dropout(0.0)
        self.transformer = Transformer(sizes, width)
        self.pool = 'mean'


class Transformer(nn.Module):
    def __init__(self, sizes, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(sizes, width), FeedForward(sizes, width)])
            for _ in range(sizes['depth'])
        )


class Attention(nn.Module):
    def __init__(self, sizes, width):
        super().__init__()
        inner = sizes['heads'] * sizes['head_width']
        self.heads, self.scale = sizes['heads'], sizes['head_width'] ** -0.5
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(0.1)
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(0.1))
        self.bias = torch.ones(1, 1, FRAMES * sizes['tokens'], FRAMES * sizes['tokens'])


class FeedForward(nn.Module):
    def __init__(self, sizes, width):
        super().__init__()
        hidden = sizes['hidden']
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.1),
            nn.Linear(hidden, width), nn.Dropout(0.1),
        )  # fmt: skip


class ProprioceptiveEmbedding(nn.Module):
    """The layout of models.proprio.ProprioceptiveEmbedding."""

    def __init__(self, components, width=EMBEDDED):
        super().__init__()
        self.in_chans, self.emb_dim = components, width
        self.patch_embed = nn.Conv1d(components, width, kernel_size=1, stride=1)


class VQVAE(nn.Module):
    """A decoder, which nobody here needs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


class AcceleratedOptimizer:
    """What the library accelerate makes of an optimiser."""

    def __init__(self, optimizer):
        self.optimizer = optimizer


DINO_WM_CLASSES = {
    'models__vit__ViTPredictor': ViTPredictor,
    'models__vit__Transformer': Transformer,
    'models__vit__Attention': Attention,
    'models__vit__FeedForward': FeedForward,
    'models__proprio__ProprioceptiveEmbedding': ProprioceptiveEmbedding,
    'models__vqvae__VQVAE': VQVAE,
    'accelerate__optimizer__AcceleratedOptimizer': AcceleratedOptimizer,
}


def dino_wm_checkpoint(folder, sizes=TINY, seed=0, **extra):
    """Write checkpoints/model_latest.pth and hydra.yaml as DINO-WM does.

    Args:
        folder: to write into.
        sizes: of the predictor.
        seed: of all weights.
        extra: more entries of the checkpoint.

    Returns:
        The path of the checkpoint, and the modules in it.
    """
    torch.manual_seed(seed)
    with modules(**DINO_WM_CLASSES):
        predictor = ViTPredictor(sizes, sizes['visual'] + 2 * EMBEDDED)
        parts = {
            'predictor': predictor,
            'action_encoder': ProprioceptiveEmbedding(ACTION),
            'proprio_encoder': ProprioceptiveEmbedding(PROPRIOCEPTION),
            'decoder': VQVAE(),
        }
        optimizer = AcceleratedOptimizer(torch.optim.AdamW(predictor.parameters()))
        path = folder / 'checkpoints' / 'model_latest.pth'
        path.parent.mkdir(parents=True)
        torch.save(
            {'epoch': 7, 'predictor_optimizer': optimizer, **parts, **extra}, path
        )
    hydra = {
        'env': {'name': 'pusht'}, 'img_size': 16 * round(sizes['tokens'] ** 0.5), 'frameskip': 5,
        'num_hist': FRAMES, 'num_pred': 1, 'concat_dim': 1, 'num_action_repeat': 1,
        'num_proprio_repeat': 1, 'normalize_action': True,
    }  # fmt: skip
    (folder / 'hydra.yaml').write_text(yaml.safe_dump(hydra))
    return path, parts


def dinov2_weights(path, sizes=TINY_VIT, seed=1):
    """Write a state dict as DINOv2 publishes them."""
    torch.manual_seed(seed)
    encoder = VisionTransformer(**sizes)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.1)
    weights = {'mask_token': torch.zeros(1, sizes['width']), **encoder.state_dict()}
    save = save_file if path.suffix == '.safetensors' else torch.save
    save(weights, path)
    return path


class Hostile:
    """Runs a function of the standard library when it is unpickled."""

    def __init__(self, call, *arguments):
        self._call, self._arguments = call, arguments

    def __reduce__(self):
        return self._call, self._arguments
