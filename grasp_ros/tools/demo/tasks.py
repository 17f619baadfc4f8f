"""What the demo needs to know of each task: seeds, true poses, judge, parameters of the planner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray

from grasp_ros.sim.point_maze.world import budget_for
from grasp_ros.sim.success import EpisodeJudge, Judge, Rules, episode_seeds
from grasp_ros.tools.demo.client import Start, Tick

CHECKOUT = Path(__file__).resolve().parents[3]


class DemoTask(ABC):
    """A task of `sim_robot` and how it is judged."""

    name: str
    truth: tuple[str, ...]
    """Names of the true poses that are judged."""
    parameter_file: str | None
    """In config/, with what the planner needs for this task; None for its defaults."""
    required_share = 1.0
    """Of the goals, that must be reached unless asked otherwise."""

    @abstractmethod
    def seeds(self, first: int, count: int) -> list[int]:
        """Seeds of the episodes; ValueError if there are none such."""

    @abstractmethod
    def judge(self, start: Start, horizon: int) -> Judge:
        """Who watches an episode."""

    @abstractmethod
    def state(self, tick: Tick) -> NDArray[np.float64]:
        """What the judge sees of a tick."""


class TwoRoomTask(DemoTask):
    """To the goal, and stay there."""

    name = 'two_room'
    truth = ('pose',)
    parameter_file: str | None = None

    def seeds(self, first: int, count: int) -> list[int]:
        """See `episode_seeds`."""
        return episode_seeds(first, count)

    def judge(self, start: Start, horizon: int) -> Judge:
        """By the rules of every table."""
        seed = int(start.episode['seed'])
        rules = Rules.for_horizon(horizon)
        return EpisodeJudge(seed, start.through_door, start.goal_px, rules)

    def state(self, tick: Tick) -> NDArray[np.float64]:
        """Position (2,) in px."""
        return tick.position_px


class PointMazeTask(TwoRoomTask):
    """A point mass with inertia: to the goal, and stay there."""

    name = 'point_maze'
    parameter_file = 'point_maze.yaml'

    def judge(self, start: Start, horizon: int) -> Judge:
        """As in two rooms, but the time is for the way, whatever the horizon."""
        rules = Rules(budget_for(start.episode['way']))
        seed = int(start.episode['seed'])
        return EpisodeJudge(seed, start.through_door, start.goal_px, rules)


class PushTTask(DemoTask):
    """Agent and block to where a recorded motion came to."""

    name = 'push_t'
    truth = ('pose', 'block')
    parameter_file = 'push_t.yaml'
    required_share = 0.4  # the model that comes along cannot do them all

    def seeds(self, first: int, count: int) -> list[int]:
        """One after the other."""
        if first < 0 or count < 1:
            raise ValueError(f'{count} episodes from seed {first} on: there are none such')
        return list(range(first, first + count))

    def judge(self, start: Start, horizon: int) -> Judge:
        """By DINO-WM's criterion, within twice the time that the recorded motion took."""
        # Only here: the other task does without pymunk.
        from grasp_ros.sim.push_t.success import PushTJudge

        episode = start.episode
        return PushTJudge(
            episode['seed'], episode['moves_block'], episode['goal'], episode['budget']
        )

    def state(self, tick: Tick) -> NDArray[np.float64]:
        """Agent and block (5,) in px and rad."""
        from grasp_ros.sim.push_t.world import METRES_PER_PIXEL

        agent, block = tick.poses['pose'], tick.poses['block']
        places = np.array([agent.x, agent.y, block.x, block.y]) / METRES_PER_PIXEL
        return np.append(places, block.angle)


DEMO_TASKS: Mapping[str, DemoTask] = {
    task.name: task for task in (TwoRoomTask(), PointMazeTask(), PushTTask())
}


def parameter_files(task: DemoTask, given: Path | None) -> list[Path]:
    """Parameter files for the planner, later ones win: that of the task and that given."""
    files = []
    if task.parameter_file:
        files.append(_config() / task.parameter_file)
    return [*files, given] if given else files


def _config() -> Path:
    """Folder config/ of this checkout, or of the installed package."""
    if (CHECKOUT / 'package.xml').is_file():
        return CHECKOUT / 'config'
    return Path(get_package_share_directory('grasp_ros'), 'config')
