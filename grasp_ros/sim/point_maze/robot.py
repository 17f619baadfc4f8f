"""The point mass in continuous time, with a camera: a task of the node `sim_robot`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.point_maze.world import VELOCITY, PointMaze, draw_episode
from grasp_ros.sim.protocol import Pose
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL


class PointMazeRobot:
    """Obeys accelerations; without a command for a while it coasts and is dragged to rest."""

    frame = 'map'

    def __init__(self, command_timeout_s: float, seed: int, time_s: float) -> None:
        """Begin the episode of `seed`.

        Args:
            command_timeout_s: how long a command is obeyed.
            seed: of the episode.
            time_s: now.

        Raises:
            ValueError: if the timeout is not positive and finite.
        """
        if not (np.isfinite(command_timeout_s) and command_timeout_s > 0):
            raise ValueError(f'command_timeout_s is {command_timeout_s}; it must be positive')
        self._world = PointMaze()
        self._timeout_s = command_timeout_s
        self.reset(seed, time_s)

    def reset(self, seed: int, time_s: float) -> None:
        """See CameraRobot; the mass is at rest."""
        self._episode, self._way_px = draw_episode(self._world, seed)
        self._state = np.concatenate([self._episode.start, np.zeros(2)])
        self._acceleration = np.zeros(2)
        self._remaining_s = 0.0
        self._time_s = time_s

    def command(self, values: ArrayLike, time_s: float) -> None:
        """Accelerate by (2,) in m/s^2; see CameraRobot."""
        self.advance_to(time_s)
        asked = np.asarray(values, dtype=np.float64)
        if asked.shape != (2,) or not np.isfinite(asked).all():
            raise ValueError(f'acceleration {values!r} refused: it must be two finite numbers')
        self._acceleration = asked.copy()
        self._remaining_s = self._timeout_s

    def advance_to(self, time_s: float) -> None:
        """See CameraRobot."""
        passed_s = max(0.0, time_s - self._time_s)
        driven_s = min(passed_s, self._remaining_s)
        self._time_s = time_s
        self._remaining_s -= driven_s
        for acceleration, seconds in (
            (self._acceleration, driven_s),
            (np.zeros(2), passed_s - driven_s),
        ):
            self._state = self._world.accelerate(self._state[None], acceleration[None], seconds)[0]

    def velocity(self) -> NDArray[np.float64]:
        """See ProprioceptiveRobot."""
        return self._state[VELOCITY].copy()

    def image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return self._world.render(self._state[None, :2])[0]

    def goal_image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return self._world.render(self._episode.goal[None])[0]

    def truth(self) -> Mapping[str, Pose]:
        """See CameraRobot."""
        place, goal = self._state[:2], self._episode.goal
        return {
            'pose': Pose(float(place[0]), float(place[1])),
            'goal': Pose(float(goal[0]), float(goal[1])),
        }

    def episode(self) -> dict[str, Any]:
        """See CameraRobot; `way` is the length of the shortest way in px."""
        episode = self._episode
        return {
            'seed': episode.seed,
            'start': (episode.start / METRES_PER_PIXEL).tolist(),
            'goal': (episode.goal / METRES_PER_PIXEL).tolist(),
            'through_door': episode.through_door,
            'way': self._way_px,
        }

    def summary(self) -> str:
        """See CameraRobot."""
        around = self._episode.through_door
        return f'goal {"around the bend" if around else "in the same corridor"}'
