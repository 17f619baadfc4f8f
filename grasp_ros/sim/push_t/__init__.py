"""Task Push-T: a disc pushes a T-shaped block to where a goal image shows both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.protocol import CameraRobot, Pose, RobotSettings, SuccessMonitor, Task, Wording

if TYPE_CHECKING:
    from grasp_ros.sim.push_t.episodes import PushTEpisode


@dataclass(frozen=True, kw_only=True)
class PushTTask(Task):
    """The task; its methods import the rest, so that other tasks do without pymunk."""

    def robot(self, settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
        """See Task."""
        from grasp_ros.sim.push_t.robot import PushTRobot

        return PushTRobot(seed, time_s)

    def episode(self, seed: int) -> PushTEpisode:
        """See Task: agent and block to where a recorded motion came to."""
        from grasp_ros.sim.push_t.episodes import make_episode

        return make_episode(seed)

    def monitor(self, episode: Mapping[str, Any], horizon: int) -> SuccessMonitor:
        """See Task: by DINO-WM's criterion, within twice the time that the recorded motion took."""
        from grasp_ros.sim.push_t.success import PushTMonitor

        return PushTMonitor(
            episode['seed'], episode['moves_block'], episode['goal'], episode['budget']
        )

    def state(self, poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        """Agent and block (5,) in px and rad."""
        from grasp_ros.sim.push_t.world import METRES_PER_PIXEL

        agent, block = poses['pose'], poses['block']
        places = np.array([agent.x, agent.y, block.x, block.y]) / METRES_PER_PIXEL
        return np.append(places, block.angle)


def _pose_error(row: Mapping[str, Any]) -> str:
    if row['position_px'] is None:
        return '-'
    return f'{row["position_px"]:.0f} px, {row["angle_deg"]:.0f} deg'


PUSH_T = PushTTask(
    name='push_t',
    model='push_t',
    wording=Wording('block', {'block_moves': 'must move', 'block_rests': 'may rest'}, _pose_error),
    poses=('pose', 'block'),
    parameter_file='push_t.yaml',
    required_share=0.4,  # the model that comes along cannot do them all
)
