"""Task of a point mass in a maze, driven by forces: to where a goal image shows it, and stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.point_maze.robot import PointMazeRobot
from grasp_ros.sim.point_maze.world import PointMaze, budget_for, draw_episode
from grasp_ros.sim.protocol import CameraRobot, Pose, RobotSettings, SuccessMonitor, Task, Wording
from grasp_ros.sim.rooms.episodes import Episode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import ReachMonitor, Rules, episode_seeds, px_to_go


@dataclass(frozen=True, kw_only=True)
class PointMazeTask(Task):
    """A task of a mass with inertia."""

    def robot(self, settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
        """See Task."""
        return PointMazeRobot(settings.command_timeout_s, seed, time_s)

    def episode(self, seed: int) -> Episode:
        """See Task."""
        return draw_episode(PointMaze(), seed)[0]

    def monitor(self, episode: Mapping[str, Any], horizon: int) -> SuccessMonitor:
        """See Task; the time is for the way, whatever the horizon."""
        rules = Rules(budget_for(episode['way']))
        return ReachMonitor(episode['seed'], episode['through_door'], episode['goal'], rules)

    def state(self, poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        """Position (2,) in px."""
        pose = poses['pose']
        return np.array([pose.x, pose.y]) / METRES_PER_PIXEL

    def seeds(self, first: int, count: int) -> list[int]:
        """See `episode_seeds`: even ones lead around the bend."""
        return episode_seeds(first, count)


POINT_MAZE = PointMazeTask(
    name='point_maze',
    model='point_maze',
    wording=Wording('goal is', {'through_door': 'around', 'same_room': 'same side'}, px_to_go),
    parameter_file='point_maze.yaml',
)
