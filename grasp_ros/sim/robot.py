"""One simulated robot that obeys velocity commands in continuous time and stops without them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.rooms.episodes import Episode
from grasp_ros.sim.rooms.two_rooms import TwoRooms


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
