"""What the node `sim_robot` asks of a simulated task: a robot, a camera, and a goal by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.rooms.episodes import Episode, make_episode
from grasp_ros.sim.rooms.layouts import METRES_PER_PIXEL, TwoRooms


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
class ProprioceptiveRobot(CameraRobot, Protocol):
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


class SimulatedRobot:
    """A robot in `TwoRooms`, driven by commands with time stamps of any one clock."""

    def __init__(
        self, world: TwoRooms, episode: Episode, time_s: float, command_timeout_s: float = 0.5
    ) -> None:
        """Stand at the start of `episode`.

        Args:
            world: where the robot drives.
            episode: start and goal.
            time_s: now.
            command_timeout_s: how long a command is obeyed before the robot stops by itself.

        Raises:
            ValueError: if the timeout is not positive and finite.
        """
        if not (np.isfinite(command_timeout_s) and command_timeout_s > 0):
            raise ValueError(f'command_timeout_s is {command_timeout_s}; it must be positive')
        self._world = world
        self._timeout_s = command_timeout_s
        self.reset(episode, time_s)

    @property
    def episode(self) -> Episode:
        """The present task."""
        return self._episode

    @property
    def position(self) -> NDArray[np.float64]:
        """(2,) in metres, at the time of the last call that carried one."""
        return self._position.copy()

    def reset(self, episode: Episode, time_s: float) -> None:
        """Stand still at the start of `episode`; earlier commands are forgotten."""
        self._episode = episode
        self._position = episode.start.copy()
        self._velocity = np.zeros(2)
        self._remaining_s = 0.0
        self._time_s = time_s

    def command(self, velocity: ArrayLike, time_s: float) -> None:
        """Drive with `velocity` (2,) in m/s from `time_s` on, for the timeout at most.

        Raises:
            ValueError: if the velocity is not two finite numbers; the robot then keeps doing what
                it did.
        """
        self.advance_to(time_s)
        commanded = np.asarray(velocity, dtype=np.float64)
        if commanded.shape != (2,) or not np.isfinite(commanded).all():
            raise ValueError(f'velocity {velocity!r} refused: it must be two finite numbers')
        self._velocity = commanded.copy()
        self._remaining_s = self._timeout_s

    def advance_to(self, time_s: float) -> None:
        """Move to where the robot is at `time_s`.

        Nothing moves while time stands still or goes backwards; the present command then keeps
        the time that it had left.
        """
        moving_s = min(max(0.0, time_s - self._time_s), self._remaining_s)
        self._time_s = time_s
        self._remaining_s -= moving_s
        here, velocity = self._position[None], self._velocity[None]
        self._position = self._world.advance(here, velocity, moving_s)[0]

    def picture(self) -> NDArray[np.uint8]:
        """What the camera sees now, (h, w, 3) uint8 RGB."""
        return self._world.render(self._position[None])[0]

    def goal_picture(self) -> NDArray[np.uint8]:
        """What the camera sees once the robot is at its goal, (h, w, 3) uint8 RGB."""
        return self._world.render(self._episode.goal[None])[0]
