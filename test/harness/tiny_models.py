"""Every network that comes along, as small as it can be."""

from grasp_ros.benchmark.speed.references import MlpPredictor, PatchPredictor
from grasp_ros.models.compact.model import CompactConfig, CompactModel
from grasp_ros.models.published.dino_wm import DinoWm
from grasp_ros.models.published.jepa_wm import JepaWm
from grasp_ros.models.published.le_wm import LeWm
from harness.published import TINY_DINO_WM, TINY_JEPA_WM, TINY_LE_WM

TINY_MODELS = {
    'compact': lambda: CompactModel(CompactConfig(image_size=16, hidden=8, manifold_hidden=8)),
    'compact, proprioception': lambda: CompactModel(
        CompactConfig(image_size=16, hidden=8, proprioception=3)
    ),
    'vector': lambda: MlpPredictor(8, 1, 3),
    'patches': lambda: PatchPredictor(4, 24, 1, 2, 8, 16, action_dim=3),
    'dino_wm': lambda: DinoWm(TINY_DINO_WM),
    'jepa_wm': lambda: JepaWm(TINY_JEPA_WM),
    'le_wm': lambda: LeWm(TINY_LE_WM),
}
"""By name; weights are drawn from torch's global generator."""
