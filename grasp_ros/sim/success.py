"""Success of an episode: the robot reached its goal and stayed there, in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.protocol import Result

BUDGET_PER_HORIZON = 1.5


@dataclass(frozen=True)
class Rules:
    """Rules of success.

    Attributes:
        budget: steps within which all of it must happen.
        tolerance_px: largest distance from the goal, in camera pixels.
        stay_steps: steps that the robot must stay after the one in which it arrived.
    """

    budget: int
    tolerance_px: float = 5.0
    stay_steps: int = 10

    @classmethod
    def for_horizon(cls, horizon: int) -> Rules:
        """The rules of every table: 1.5 times the planner's horizon to arrive and stay 1 s."""
        return cls(budget=round(BUDGET_PER_HORIZON * horizon))


@dataclass(frozen=True)
class EpisodeResult:
    """Result of an episode.

    Attributes:
        seed: of the episode.
        reached: whether the robot reached its goal and stayed there.
        through_door: whether start and goal lie in different rooms.
        steps: until the robot arrived to stay; all steps taken where it did not.
        final_distance_px: distance from the goal at the end.
    """

    seed: int
    reached: bool
    through_door: bool
    steps: int
    final_distance_px: float

    @property
    def group(self) -> str:
        """See Result."""
        return 'through_door' if self.through_door else 'same_room'

    def row(self) -> dict[str, Any]:
        """See Result."""
        known = not math.isnan(self.final_distance_px)
        return {
            'seed': self.seed,
            'reached': self.reached,
            'through_door': self.through_door,
            'steps': self.steps,
            'final_distance_px': round(self.final_distance_px, 3) if known else None,
        }


class ReachMonitor:
    """Watches one robot from its start; step 0 is where it stands then."""

    def __init__(self, seed: int, through_door: bool, goal_px: ArrayLike, rules: Rules) -> None:
        """Begin an episode.

        Args:
            seed: of the episode, for the result.
            through_door: whether start and goal lie in different rooms, for the result.
            goal_px: (2,) true goal in camera pixels.
            rules: what counts as success.
        """
        self._seed = seed
        self._through_door = through_door
        self._goal: NDArray[np.float64] = np.asarray(goal_px, dtype=np.float64)
        self._rules = rules
        self._step = -1
        self._arrived_at: int | None = None
        self.distance_px = float('nan')

    @property
    def step(self) -> int:
        """The newest step, -1 before the first."""
        return self._step

    @property
    def reached(self) -> bool:
        """Return whether the robot has stayed at its goal for long enough."""
        if self._arrived_at is None:
            return False
        return self._step - self._arrived_at >= self._rules.stay_steps

    @property
    def ended(self) -> bool:
        """Return whether the episode is decided."""
        return self.reached or self._step >= self._rules.budget

    def update(self, position_px: ArrayLike) -> bool:
        """Take the next step.

        Args:
            position_px: (2,) true position in camera pixels.

        Returns:
            Whether the episode is decided; steps after that change nothing.
        """
        if self.ended:
            return True
        self._step += 1
        self.distance_px = float(np.linalg.norm(np.asarray(position_px) - self._goal))
        if not self.distance_px <= self._rules.tolerance_px:
            self._arrived_at = None
        elif self._arrived_at is None:
            self._arrived_at = self._step
        return self.ended

    def progress(self) -> str:
        """One line for people."""
        return f'step {self._step}/{self._rules.budget}, {self.distance_px:.1f} px to go'

    def result(self) -> EpisodeResult:
        """Result so far, at any time."""
        arrived = self._arrived_at if self.reached else None
        steps = max(0, self._step) if arrived is None else arrived
        return EpisodeResult(
            self._seed, self.reached, self._through_door, steps, self.distance_px
        )


class EndMonitor:
    """Watches where one robot is when its budget is used up, and nothing before."""

    def __init__(self, seed: int, through_door: bool, goal_px: ArrayLike, rules: Rules) -> None:
        """Begin an episode; see ReachMonitor."""
        self._seed = seed
        self._through_door = through_door
        self._goal: NDArray[np.float64] = np.asarray(goal_px, dtype=np.float64)
        self._rules = rules
        self._step = -1
        self.distance_px = float('nan')

    def update(self, position_px: ArrayLike) -> bool:
        """Take the next true position (2,) in camera pixels; whether the episode is over."""
        if self._step < self._rules.budget:
            self._step += 1
            self.distance_px = float(np.linalg.norm(np.asarray(position_px) - self._goal))
        return self._step >= self._rules.budget

    def result(self) -> EpisodeResult:
        """Result, once the episode is over."""
        over = self._step >= self._rules.budget
        reached = over and self.distance_px <= self._rules.tolerance_px
        steps = max(0, self._step)
        return EpisodeResult(self._seed, reached, self._through_door, steps, self.distance_px)


@dataclass(frozen=True)
class Successes:
    """Goals reached, out of how many."""

    reached: int
    episodes: int


def count_successes(
    results: Sequence[Result], groups: Sequence[str] = ('through_door', 'same_room')
) -> dict[str, Successes]:
    """Successes of `all` episodes and of those of each group."""
    chosen = {'all': list(results)}
    for name in groups:
        chosen[name] = [result for result in results if result.group == name]
    return {
        name: Successes(sum(result.reached for result in group), len(group))
        for name, group in chosen.items()
    }


def episode_seeds(first: int, count: int) -> list[int]:
    """Seeds of `count` episodes from `first` on, at least half of them even.

    Even seeds lead to the other room. They follow one another, except that an odd `first` with an
    odd `count` takes the next even seed for the last one.

    Raises:
        ValueError: if `first` is negative or `count` is not positive.
    """
    if first < 0:
        raise ValueError(f'first seed is {first}; it must not be negative')
    if count < 1:
        raise ValueError(f'{count} episodes asked for; there must be at least one')
    seeds = list(range(first, first + count))
    if first % 2 == 1 and count % 2 == 1:
        seeds[-1] += 1
    return seeds


def px_to_go(row: Mapping[str, Any]) -> str:
    """The distance left to the goal, for people, of a row of the report."""
    distance = row['final_distance_px']
    return '-' if distance is None else f'{distance:.1f} px'
