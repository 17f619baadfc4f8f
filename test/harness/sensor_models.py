"""A small random model of two cameras and two joints, and what its sensors give."""

import numpy as np
import torch

from grasp_ros.models.checkpoint import save_model
from grasp_ros.models.compact.model import CompactConfig, CompactModel

CAMERAS = ('left', 'right')
JOINTS = ('velocity.shoulder', 'velocity.elbow')
SIDE = 16


def write_model(folder):
    """Write the model; return its folder as text."""
    torch.manual_seed(5)
    model = CompactModel(
        CompactConfig(
            image_size=SIDE, latent_dim=6, hidden=16, channels=4, reach_groups=2,
            reach_group_size=4, reach_hidden=16, encoder_hidden=16, cameras=2, proprioception=2,
        )
    )  # fmt: skip
    save_model(
        folder,
        model,
        image={'height': SIDE, 'width': SIDE},
        cameras=list(CAMERAS),
        proprioception={
            'names': list(JOINTS), 'units': ['rad/s'] * 2, 'mean': [0.0] * 2, 'std': [0.5] * 2
        },
        model_dt=0.1,
        frame_skip=1,
        action={
            'kind': 'velocity', 'names': ['x', 'y'], 'units': ['m/s'] * 2, 'low': [-1.0] * 2,
            'high': [1.0] * 2, 'mean': [0.0] * 2, 'std': [0.5] * 2,
        },
        calibration={'one_step_latent': 0.1},
    )  # fmt: skip
    return str(folder)


def shown(camera, seed=0):
    """What a camera sees, (h, w, 3) uint8."""
    rng = np.random.default_rng([CAMERAS.index(camera), seed])
    return rng.integers(50, 255, (SIDE, SIDE, 3), dtype=np.uint8)


def goal():
    """The goal pictures of both cameras, side by side."""
    return np.concatenate([shown(camera, 1) for camera in CAMERAS], axis=1)
