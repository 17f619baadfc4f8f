"""Closed-loop episodes in which planning takes simulated time, as on a robot with a slow computer.

Nothing waits for planning: control ticks and camera pictures go on while a plan is made, as they do
in the node, where planning has a thread of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from grasp_ros.benchmark.episodes.compute_budget import PlannerWrapper
from grasp_ros.control.plan_report import PlanReport
from grasp_ros.control.types import Command
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.sim.rooms.episodes import RoomsEpisode
from grasp_ros.sim.rooms.world import METRES_PER_PIXEL
from grasp_ros.sim.success import EpisodeResult, ReachMonitor, Rules

SPREAD = 0.1
RARE = 0.03


class Control(Protocol):
    """What is driven with: a Controller, or something like it."""

    @property
    def planning_delay(self) -> float: ...  # noqa: D102 - as the Controller's, all of them
    def reset(self) -> None: ...  # noqa: D102
    def set_goal(self, image: NDArray[np.uint8]) -> bool: ...  # noqa: D102
    def observe(self, image: NDArray[np.uint8], stamp_ns: int) -> str | None: ...  # noqa: D102
    def plan(self, now_ns: int) -> PlanReport: ...  # noqa: D102
    def planned(self, finished_ns: int) -> None: ...  # noqa: D102
    def command(self, now_ns: int) -> Command: ...  # noqa: D102


class SlowPlanner(PlannerWrapper):
    """A planner during whose solves time passes.

    Attributes:
        clock: what lets time pass; None where none does.
    """

    clock: SlowEpisode | None = None

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """See Planner; the world goes on meanwhile."""
        plan = super().plan(problem, init, generator=generator, deadline_s=deadline_s)
        if self.clock is not None:
            self.clock.pass_planning_time()
        return plan


@dataclass(frozen=True, eq=False)
class SlowRun:
    """What became of an episode.

    Attributes:
        result: the verdict.
        positions: (S, 2) in metres, where the robot was at each tick.
        change: mean squared change of the command from one tick to the next, (m/s)^2.
        overshoot: how far the robot went beyond its goal in the direction of its arrival, metres;
            None where it never came near.
        delay_s: planning delay that was compensated for at the end.
        plans: made.
    """

    result: EpisodeResult
    positions: NDArray[np.float64]
    change: float
    overshoot: float | None
    delay_s: float
    plans: int


class SlowEpisode:
    """One episode on a simulated clock."""

    def __init__(
        self,
        controller: Control,
        planner: SlowPlanner,
        task: RoomsEpisode,
        rules: Rules,
        planning_periods: float,
    ) -> None:
        """Begin at the start of the episode.

        Args:
            controller: is reset.
            planner: of the controller.
            task: the episode and its world.
            rules: what counts as success.
            planning_periods: median time of a solve in control periods. Single times are spread
                by 10 %, and 3 % of them are twice as long.
        """
        episode = task.episode
        self._controller, self._planner, self._task = controller, planner, task
        self._judge = ReachMonitor(
            episode.seed, episode.through_door, episode.goal / METRES_PER_PIXEL, rules
        )
        self._rng = np.random.default_rng([episode.seed, 20264])
        self._period_ns = round(1e9 * task.world.control_period)
        self._planning_ns = planning_periods * self._period_ns
        self._now_ns = self._next_tick_ns = 0
        self._fresh = self._ended = False
        self._position = episode.start[None]
        self._positions: list[NDArray[np.float64]] = []
        self._commands: list[NDArray[np.float64]] = [np.zeros(2)]

    def run(self) -> SlowRun:
        """Drive it to its end."""
        plans = 0
        controller, task = self._controller, self._task
        controller.reset()
        controller.set_goal(task.world.render(task.episode.goal[None])[0])
        self._planner.clock = self
        while not self._ended:
            if not self._fresh:
                self._tick()
            self._fresh = False
            plans += controller.plan(self._now_ns).plan is not None
            controller.planned(self._now_ns)
        self._planner.clock = None
        positions = np.stack(self._positions)
        return SlowRun(
            self._judge.result(),
            positions,
            float(np.square(np.diff(self._commands, axis=0)).sum(axis=1).mean()),
            overshoot(positions, task.episode.goal),
            controller.planning_delay,
            plans,
        )

    def pass_planning_time(self) -> None:
        """Ticks go on for as long as a solve takes."""
        factor = np.exp(SPREAD * self._rng.standard_normal()) * (1 + (self._rng.random() < RARE))
        until_ns = self._now_ns + round(self._planning_ns * factor)
        while self._next_tick_ns <= until_ns and not self._ended:
            self._tick()
        self._now_ns = until_ns

    def _tick(self) -> None:
        """A picture and a command, which acts until the next tick."""
        self._now_ns = self._next_tick_ns
        self._next_tick_ns += self._period_ns
        world, position = self._task.world, self._position
        self._positions.append(position[0])
        self._ended = self._judge.update(position[0] / METRES_PER_PIXEL)
        self._fresh = True
        self._controller.observe(world.render(position)[0], self._now_ns)
        action = self._controller.command(self._now_ns).action
        self._commands.append(np.zeros(2) if action is None else action)
        self._position = world.advance(position, self._commands[-1][None], world.control_period)


def overshoot(
    positions: NDArray[np.float64], goal: NDArray[np.float64], near: float = 0.25
) -> float | None:
    """How far a robot went beyond its goal in the direction in which it first came near.

    Args:
        positions: (S, 2) in metres, at each tick.
        goal: (2,) in metres.
        near: distance that counts as near, metres.

    Returns:
        Metres, at least 0; None where it never came near.
    """
    distances = np.linalg.norm(positions - goal, axis=1)
    first = int(np.argmax(distances <= near))
    if distances[first] > near:
        return None
    motion = positions[first] - positions[max(first - 1, 0)]
    speed = float(np.linalg.norm(motion))
    if speed == 0:
        return 0.0
    return max(0.0, float(((positions[first:] - goal) @ (motion / speed)).max()))
