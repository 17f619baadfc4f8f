"""Published families of models, small."""

import torch

from grasp_ros.models.published.dino_wm import DinoWm, DinoWmConfig
from grasp_ros.models.published.jepa_wm import JepaWm, JepaWmConfig
from grasp_ros.models.published.le_wm import LeWm, LeWmConfig

TINY_DINO_WM = DinoWmConfig(
    image_size=16, encoder_image_size=8, patch=4, grid=3, encoder_width=8, encoder_depth=1,
    encoder_heads=2, action_dim=4, action_width=3, proprioception=2, proprio_width=2, depth=2,
    heads=2, head_width=4, hidden=16,
)  # fmt: skip
TINY_JEPA_WM = JepaWmConfig(
    image_size=8, patch=4, grid=3, encoder_width=8, encoder_depth=1, encoder_heads=2, action_dim=4,
    proprioception=3, proprio_width=2, visual_width=24, depth=2, heads=2, hidden=104,
)  # fmt: skip
TINY_LE_WM = LeWmConfig(
    image_size=8, patch=4, encoder_width=8, encoder_depth=1, encoder_heads=2, latent_dim=6,
    projector_hidden=12, action_dim=4, action_smooth=4, action_hidden=12, depth=2, heads=2,
    head_width=4, hidden=16,
)  # fmt: skip
MODELS = [(DinoWm, TINY_DINO_WM), (JepaWm, TINY_JEPA_WM), (LeWm, TINY_LE_WM)]


def build(kind, config):
    torch.manual_seed(0)
    model = kind(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval().requires_grad_(False)
