"""The Push-T table in continuous time, with a camera: a task of the node `sim_robot`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.camera_robot import Pose
from grasp_ros.sim.push_t.camera import render
from grasp_ros.sim.push_t.episodes import make_episode
from grasp_ros.sim.push_t.world import METRES_PER_PIXEL, TICK_S, PushTable


class PushTRobot:
    """Obeys displacements; each ends by itself, so that nothing moves long without commands."""

    frame = 'table'

    def __init__(self, seed: int, time_s: float) -> None:
        """Begin the episode of `seed`."""
        self.reset(seed, time_s)

    def reset(self, seed: int, time_s: float) -> None:
        """See CameraRobot."""
        self._episode = make_episode(seed)
        self._table = PushTable(self._episode.start)
        self._time_s = time_s
        self._left_s = 0.0

    def command(self, values: ArrayLike, time_s: float) -> None:
        """Move the agent by so much (2,) in m from where it is at `time_s`; see CameraRobot."""
        self.advance_to(time_s)
        self._table.command(values)

    def advance_to(self, time_s: float) -> None:
        """See CameraRobot; what is less than a tick of the physics is made up for later."""
        self._left_s += max(0.0, time_s - self._time_s)
        self._time_s = time_s
        ticks = int(self._left_s / TICK_S + 1e-6)
        self._left_s = max(0.0, self._left_s - ticks * TICK_S)
        self._table.tick(ticks)

    def picture(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return render(self._table.state)

    def goal_picture(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return render(self._episode.goal)

    def truth(self) -> Mapping[str, Pose]:
        """See CameraRobot; `block` and `block_goal` as well."""
        now, goal = self._table.state, self._episode.goal
        return {
            'block': _pose(*now[2:5]),
            'block_goal': _pose(*goal[2:5]),
            'pose': _pose(*now[:2]),
            'goal': _pose(*goal[:2]),
        }

    def episode(self) -> dict[str, Any]:
        """See CameraRobot; `start` and `goal` are agent, block and the block's angle in rad."""
        return {
            'seed': self._episode.seed,
            'start': self._episode.start[:5].tolist(),
            'goal': self._episode.goal[:5].tolist(),
            'moves_block': self._episode.moves_block,
            'budget': self._episode.budget,
        }

    def summary(self) -> str:
        """See CameraRobot."""
        return 'the block must move' if self._episode.moves_block else 'the block may rest'


def _pose(x_px: float, y_px: float, angle: float = 0.0) -> Pose:
    return Pose(float(x_px) * METRES_PER_PIXEL, float(y_px) * METRES_PER_PIXEL, float(angle))
