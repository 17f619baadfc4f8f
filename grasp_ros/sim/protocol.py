"""Interfaces of a simulated task: its robot, its episodes, and the monitor of their success."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Pose:
    """Pose in the plane: m, and rad from x to y."""

    x: float
    y: float
    angle: float = 0.0


@dataclass(frozen=True)
class RobotSettings:
    """Parameters of the node `sim_robot` that its robots obey.

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

    def image(self) -> NDArray[np.uint8]:
        """Camera image of now, (h, w, 3) uint8 RGB."""
        ...

    def goal_image(self) -> NDArray[np.uint8]:
        """Camera image of the goal, (h, w, 3) uint8 RGB."""
        ...

    def truth(self) -> Mapping[str, Pose]:
        """True poses by name; `pose` is the robot's and `goal` where it should be."""
        ...

    def episode(self) -> dict[str, Any]:
        """Fields of the episode, ready for JSON: `seed`, and what `Task.monitor` wants to know."""
        ...

    def summary(self) -> str:
        """Kind of the episode, for people."""
        ...


@runtime_checkable
class ProprioceptiveRobot(CameraRobot, Protocol):
    """A robot whose images do not show all that matters."""

    def velocity(self) -> NDArray[np.float64]:
        """Velocity (2,) of now in m/s, the proprioception of the robot."""
        ...


class Result(Protocol):
    """Result of an episode of any task."""

    @property
    def seed(self) -> int:
        """Of the episode."""
        ...

    @property
    def reached(self) -> bool:
        """Return whether it succeeded."""
        ...

    @property
    def steps(self) -> int:
        """Until it did, or all."""
        ...

    @property
    def group(self) -> str:
        """Kind of episode; successes are counted for each."""
        ...

    def row(self) -> dict[str, Any]:
        """Fields of the result in a report; what is unknown is None."""
        ...


class SuccessMonitor(Protocol):
    """Watches an episode of any task for its success."""

    @property
    def ended(self) -> bool:
        """Return whether the episode is decided."""
        ...

    def update(self, state: ArrayLike, /) -> bool:
        """Take the true state of the next step; whether the episode is decided."""
        ...

    def progress(self) -> str:
        """One line for people."""
        ...

    def result(self) -> Result:
        """Result so far, at any time."""
        ...


@dataclass(frozen=True)
class Wording:
    """Words for the results of a task.

    Attributes:
        heading: of the column of groups.
        groups: kinds of episodes, and what they are called.
        error: what is left to the goal, from a row of the report.
    """

    heading: str
    groups: Mapping[str, str]
    error: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A simulated task of reaching goal images.

    Attributes:
        name: of the task.
        model: name of the model of it that comes along, in models/pretrained.
        wording: of its results.
        poses: names of the true poses that success is told by.
        parameter_file: in config/, with what the planner needs for this task; None for its
            defaults.
        required_share: of a demo's goals, that must be reached unless asked otherwise.
    """

    name: str
    model: str
    wording: Wording
    poses: tuple[str, ...] = ('pose',)
    parameter_file: str | None = None
    required_share: float = 1.0

    @abstractmethod
    def robot(self, settings: RobotSettings, seed: int, time_s: float) -> CameraRobot:
        """Make a robot at the start of the episode of `seed`, at the time `time_s`.

        Raises:
            ValueError: if a setting is out of range.
        """

    @abstractmethod
    def episode(self, seed: int) -> Any:
        """Draw start, goal and budget of a seed."""

    @abstractmethod
    def monitor(self, episode: Mapping[str, Any], horizon: int) -> SuccessMonitor:
        """Make a success monitor.

        Args:
            episode: fields of the episode, see `CameraRobot.episode`.
            horizon: of the planner, model steps; some budgets follow from it.
        """

    @abstractmethod
    def state(self, poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        """Gather the state that the monitor takes from true poses by name."""

    def seeds(self, first: int, count: int) -> list[int]:
        """Seeds of `count` episodes of a demo from `first` on, one after the other.

        Raises:
            ValueError: if `first` is negative or `count` is not positive.
        """
        if first < 0:
            raise ValueError(f'first seed is {first}; it must not be negative')
        if count < 1:
            raise ValueError(f'{count} episodes asked for; there must be at least one')
        return list(range(first, first + count))
