"""What published checkpoints leave unsaid: actions, proprioception and their statistics by task.

Statistics of the data sets that DINO-WM (arXiv 2411.04983) was published with, which JEPA-WM
(arXiv 2512.24497) shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grasp_ros.models.action_space import ActionKind


@dataclass(frozen=True)
class PublishedTask:
    """A simulated task.

    Attributes:
        action: fields of the manifest's `action`.
        proprioception: its names, units, mean and std.
        control_rate: commands per second, Hz; None where the simulator has no clock.
    """

    action: dict[str, Any]
    proprioception: dict[str, Any]
    control_rate: float | None


TASKS = {
    'pusht': PublishedTask(
        # How far the pusher's set point is from the pusher: 1 is 100 px of a table of 512 px.
        action={
            'kind': ActionKind.RELATIVE,
            'names': ['x', 'y'],
            'units': ['100 px', '100 px'],
            'low': [-1.0, -1.0],
            'high': [1.0, 1.0],
            'mean': [-0.0087, 0.0068],
            'std': [0.2019, 0.2002],
        },
        proprioception={
            'names': ['position.x', 'position.y', 'velocity.x', 'velocity.y'],
            'units': ['px', 'px', 'px/s', 'px/s'],
            'mean': [236.6155, 264.5674, -2.9303, 2.5431],
            'std': [101.1202, 87.0112, 74.8456, 74.1401],
        },
        control_rate=10.0,
    ),
    'point_maze': PublishedTask(
        # Share of the motors' range, 100 N.
        action={
            'kind': ActionKind.EFFORT,
            'names': ['x', 'y'],
            'units': ['100 N', '100 N'],
            'low': [-1.0, -1.0],
            'high': [1.0, 1.0],
            'mean': [7.82e-5, 6.00e-4],
            'std': [0.5769, 0.5776],
        },
        proprioception={
            'names': ['position.x', 'position.y', 'velocity.x', 'velocity.y'],
            'units': ['m', 'm', 'm/s', 'm/s'],
            'mean': [1.8131, 1.9377, -0.0039, -0.0198],
            'std': [1.0055, 0.9630, 1.6803, 1.9319],
        },
        control_rate=20.0,
    ),
    'wall': PublishedTask(
        # How far the dot moves.
        action={
            'kind': ActionKind.RELATIVE,
            'names': ['x', 'y'],
            'units': ['px', 'px'],
            'low': [-1.8, -1.8],
            'high': [1.8, 1.8],
            'mean': [-0.0056, 0.0132],
            'std': [0.7523, 0.7467],
        },
        proprioception={
            'names': ['position.x', 'position.y'],
            'units': ['px', 'px'],
            'mean': [31.8945, 31.8140],
            'std': [17.6635, 17.2752],
        },
        control_rate=None,
    ),
}
