"""Tasks in rooms: a robot drives to where a goal image shows it, and stays there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.protocol import CameraRobot, Pose, RobotSettings, SuccessMonitor, Task, Wording
from grasp_ros.sim.rooms.episodes import (
    DrawnLengths,
    RoomsEpisode,
    drawn_episode,
    fixed_episode,
    make_episode,
)
from grasp_ros.sim.rooms.robot import RoomsRobot, Scene
from grasp_ros.sim.rooms.world import (
    METRES_PER_PIXEL,
    TwoRooms,
    WalledWorld,
    draw_maze,
    draw_two_rooms,
)
from grasp_ros.sim.success import ReachMonitor, Rules, episode_seeds, px_to_go


@dataclass(frozen=True, kw_only=True)
class RoomsTask(Task):
    """A task of a robot that is driven by velocities among walls.

    Attributes:
        draw: the world of an episode.
        lengths: of the time-optimal paths, where worlds are drawn; None where there is one world.
    """

    draw: Callable[[np.random.Generator], WalledWorld]
    lengths: DrawnLengths | None = None

    def episode(self, seed: int) -> RoomsEpisode:
        """See Task; in drawn worlds start and goal lie in different rooms."""
        if self.lengths is None:
            return fixed_episode(self.draw(np.random.default_rng(seed)), seed)
        return drawn_episode(self.draw, self.lengths, seed)

    def robot(self, settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
        """See Task; drawn worlds may make the robot slower than `settings` let it be."""

        def scene(seed: int) -> Scene:
            if self.lengths is None:
                world = self.draw(np.random.default_rng(seed))
                driven = replace(world, max_speed=settings.max_speed)
                return Scene(driven, make_episode(driven, seed), None)
            drawn = self.episode(seed)
            limit = min(settings.max_speed, drawn.world.max_speed)
            return Scene(replace(drawn.world, max_speed=limit), drawn.episode, drawn.budget)

        return RoomsRobot(scene, settings.command_timeout_s, seed, time_s)

    def monitor(self, episode: Mapping[str, Any], horizon: int) -> SuccessMonitor:
        """See Task: by the rules of every table; where there is one world, time is 1.5 horizons."""
        budget = episode.get('budget')
        rules = Rules.for_horizon(horizon) if budget is None else Rules(budget)
        return ReachMonitor(episode['seed'], episode['through_door'], episode['goal'], rules)

    def state(self, poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        """Position (2,) in px."""
        pose = poses['pose']
        return np.array([pose.x, pose.y]) / METRES_PER_PIXEL

    def seeds(self, first: int, count: int) -> list[int]:
        """See Task; in one world, where even seeds lead through the door, see `episode_seeds`."""
        if self.lengths is None:
            return episode_seeds(first, count)
        return super().seeds(first, count)


DRAWN_WORDING = Wording('goal in', {'through_door': 'other room'}, px_to_go)

TWO_ROOM = RoomsTask(
    name='two_room',
    model='two_room',
    wording=Wording(
        'goal in', {'through_door': 'other room', 'same_room': 'same room'}, px_to_go
    ),
    draw=lambda rng: TwoRooms(),
)

TWO_ROOM_DRAWN_DOOR = RoomsTask(
    name='two_room_drawn_door',
    model='two_room_drawn_door',
    wording=DRAWN_WORDING,
    parameter_file='two_room_drawn_door.yaml',
    required_share=0.8,
    draw=draw_two_rooms,
    lengths=DrawnLengths(15.0, 40.0),
)

MAZE = RoomsTask(
    name='maze',
    model='maze',
    wording=DRAWN_WORDING,
    parameter_file='maze.yaml',
    required_share=0.8,
    draw=draw_maze,
    lengths=DrawnLengths(40.0, 120.0),
)
