"""What the node `sim_robot` asks of a simulated task: a robot, a camera, and a goal by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.robot import SimulatedRobot
from grasp_ros.sim.rooms.episodes import make_episode
from grasp_ros.sim.rooms.two_rooms import METRES_PER_PIXEL, TwoRooms


@dataclass(frozen=True)
class Pose:
    """In the plane: m, and rad from x to y."""

    x: float
    y: float
    angle: float = 0.0


@dataclass(frozen=True)
class RobotSettings:
    """Parameters of the node.

    Attributes:
        max_speed: limit of each component of a velocity, m/s.
        command_timeout_s: how long a command is obeyed.
    """

    max_speed: float = 1.0
    command_timeout_s: float = 0.5


class CameraRobot(Protocol):
    """A simulated robot in continuous time; times are of any one clock."""

    frame: str
    """Of the true poses."""

    def reset(self, seed: int, time_s: float) -> None:
        """Begin the episode of a seed."""
        ...

    def command(self, values: ArrayLike, time_s: float) -> None:
        """Obey two numbers from `time_s` on.

        Raises:
            ValueError: if they are not two finite numbers.
        """
        ...

    def advance_to(self, time_s: float) -> None:
        """Let time pass; none passes where it stands still or goes backwards."""
        ...

    def picture(self) -> NDArray[np.uint8]:
        """What the camera sees now, (h, w, 3) uint8 RGB."""
        ...

    def goal_picture(self) -> NDArray[np.uint8]:
        """What it sees at the goal, (h, w, 3) uint8 RGB."""
        ...

    def truth(self) -> Mapping[str, Pose]:
        """True poses by name; `pose` is the robot's and `goal` where it should be."""
        ...

    def episode(self) -> dict[str, Any]:
        """Of the episode: `seed`, `start` and `goal` in px, and what else judges want to know."""
        ...

    def summary(self) -> str:
        """What kind of episode it is, for people."""
        ...


@runtime_checkable
class FeelingRobot(CameraRobot, Protocol):
    """A robot whose pictures do not show all that matters."""

    def velocity(self) -> NDArray[np.float64]:
        """What it feels now: its velocity (2,) in m/s."""
        ...


class TwoRoomRobot:
    """The default task."""

    frame = 'map'

    def __init__(self, settings: RobotSettings, seed: int, time_s: float) -> None:
        """Begin the episode of `seed`; errors as `SimulatedRobot`."""
        self._world = TwoRooms(max_speed=settings.max_speed)
        self._robot = SimulatedRobot(
            self._world, make_episode(self._world, seed), time_s, settings.command_timeout_s
        )
        self.command = self._robot.command
        self.advance_to = self._robot.advance_to
        self.picture = self._robot.picture
        self.goal_picture = self._robot.goal_picture

    def reset(self, seed: int, time_s: float) -> None:
        """See CameraRobot."""
        self._robot.reset(make_episode(self._world, seed), time_s)

    def truth(self) -> Mapping[str, Pose]:
        """See CameraRobot."""
        position, goal = self._robot.position, self._robot.episode.goal
        return {
            'pose': Pose(float(position[0]), float(position[1])),
            'goal': Pose(float(goal[0]), float(goal[1])),
        }

    def episode(self) -> dict[str, Any]:
        """See CameraRobot."""
        episode = self._robot.episode
        return {
            'seed': episode.seed,
            'start': (episode.start / METRES_PER_PIXEL).tolist(),
            'goal': (episode.goal / METRES_PER_PIXEL).tolist(),
            'through_door': episode.through_door,
        }

    def summary(self) -> str:
        """See CameraRobot."""
        return f'goal in the {"other" if self._robot.episode.through_door else "same"} room'


def _push_t(settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
    # Only here: the other tasks do without pymunk.
    from grasp_ros.sim.push_t.robot import PushTRobot

    return PushTRobot(seed, time_s)


def _point_maze(settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
    from grasp_ros.sim.point_maze.robot import PointMazeRobot

    return PointMazeRobot(settings.command_timeout_s, seed, time_s)


ROBOTS: Mapping[str, Callable[[RobotSettings, int, float], CameraRobot]] = {
    'two_room': TwoRoomRobot,
    'push_t': _push_t,
    'point_maze': _point_maze,
}
"""By name of the task: makes the robot from settings, seed and the time."""
