"""The robot in rooms in continuous time, with a camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.protocol import Pose
from grasp_ros.sim.rooms.episodes import Episode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL, WalledWorld


@dataclass(frozen=True)
class Scene:
    """An episode in the world that the robot drives in; its budget in control periods, or None."""

    world: WalledWorld
    episode: Episode
    budget: int | None


class RoomsRobot:
    """A task of the node `sim_robot`: see CameraRobot."""

    frame = 'map'

    def __init__(
        self,
        scene: Callable[[int], Scene],
        command_timeout_s: float,
        seed: int,
        time_s: float,
    ) -> None:
        """Begin the episode of `seed`; errors as `SimulatedRobot`.

        Args:
            scene: world and episode of a seed.
            command_timeout_s: how long a command is obeyed.
            seed: of the episode.
            time_s: now.
        """
        self._scene_of = scene
        self._timeout_s = command_timeout_s
        self.reset(seed, time_s)

    def reset(self, seed: int, time_s: float) -> None:
        """See CameraRobot."""
        self._scene = scene = self._scene_of(seed)
        self._robot = SimulatedRobot(scene.world, scene.episode, time_s, self._timeout_s)

    def command(self, values: ArrayLike, time_s: float) -> None:
        """Drive with a velocity (2,) in m/s; see CameraRobot."""
        self._robot.command(values, time_s)

    def advance_to(self, time_s: float) -> None:
        """See CameraRobot."""
        self._robot.advance_to(time_s)

    def image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return self._robot.image()

    def goal_image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return self._robot.goal_image()

    def truth(self) -> Mapping[str, Pose]:
        """See CameraRobot."""
        position, goal = self._robot.position, self._robot.episode.goal
        return {
            'pose': Pose(float(position[0]), float(position[1])),
            'goal': Pose(float(goal[0]), float(goal[1])),
        }

    def episode(self) -> dict[str, Any]:
        """See CameraRobot; `start` and `goal` in px."""
        episode, budget = self._scene.episode, self._scene.budget
        fields = {
            'seed': episode.seed,
            'start': (episode.start / METRES_PER_PIXEL).tolist(),
            'goal': (episode.goal / METRES_PER_PIXEL).tolist(),
            'through_door': episode.through_door,
        }
        return fields if budget is None else {**fields, 'budget': budget}

    def summary(self) -> str:
        """See CameraRobot."""
        return f'goal in the {"other" if self._scene.episode.through_door else "same"} room'


class SimulatedRobot:
    """A robot among walls, driven by commands with time stamps of any one clock."""

    def __init__(
        self, world: WalledWorld, episode: Episode, time_s: float, command_timeout_s: float = 0.5
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

    def image(self) -> NDArray[np.uint8]:
        """Camera image of now, (h, w, 3) uint8 RGB."""
        return self._world.render(self._position[None])[0]

    def goal_image(self) -> NDArray[np.uint8]:
        """Camera image of the robot at its goal, (h, w, 3) uint8 RGB."""
        return self._world.render(self._episode.goal[None])[0]
