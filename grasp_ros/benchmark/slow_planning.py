"""Closed-loop episodes in which planning takes simulated time, as on a robot with a slow computer.

Nothing waits for planning: control ticks and camera images go on while a plan is made, as they do
in the node, where planning has a thread of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from grasp_ros.benchmark.run.cells import PlannerWrapper
from grasp_ros.control.controller import Controller
from grasp_ros.control.observation import ImageSource
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command, State
from grasp_ros.models.sensors import SensorSpec
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.sim.closed_loop import Driver, tick
from grasp_ros.sim.rooms.episodes import RoomsEpisode, RoomsSimulation
from grasp_ros.sim.success import EpisodeResult, Rules

SPREAD = 0.1
RARE = 0.03


class DelayedDriver(Driver, Protocol):
    """A driver that measures how long its planning takes; see Controller."""

    def plan(  # noqa: D102
        self, now_ns: int, clock: Callable[[], int] | None = None
    ) -> PlanReport: ...


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
    """Result of an episode, and how it was driven.

    Attributes:
        result: of the episode.
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
        controller: DelayedDriver,
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
        self._controller, self._planner, self._task = controller, planner, task
        self._episode = RoomsSimulation(task.world, task.episode, rules)
        self._rng = np.random.default_rng([task.episode.seed, 20264])
        self._period_ns = round(1e9 * task.world.control_period)
        self._planning_ns = planning_periods * self._period_ns
        self._now_ns = self._next_tick_ns = 0
        self._fresh = self._ended = False
        self._commands: list[NDArray[np.float64]] = [np.zeros(2)]

    def run(self) -> SlowRun:
        """Drive it to its end."""
        plans, delay_s = 0, 0.0
        controller, task = self._controller, self._task
        controller.reset()
        controller.set_goal(self._episode.goal_image)
        self._planner.clock = self
        while not self._ended:
            if not self._fresh:
                self._tick()
            self._fresh = False
            report = controller.plan(self._now_ns, lambda: self._now_ns)
            plans += report.plan is not None
            delay_s = report.planning_delay_s
        self._planner.clock = None
        # At each tick: the last command moved the robot on after the last of them.
        positions = np.stack(self._episode.positions[:-1])
        return SlowRun(
            self._episode.monitor.result(),
            positions,
            float(np.square(np.diff(self._commands, axis=0)).sum(axis=1).mean()),
            overshoot(positions, task.episode.goal),
            delay_s,
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
        """An image and a command, which acts until the next tick."""
        self._now_ns = self._next_tick_ns
        self._next_tick_ns += self._period_ns
        self._ended = self._episode.ended()
        self._fresh = True
        self._commands.append(tick(self._controller, self._episode, self._now_ns))


def overshoot(
    positions: NDArray[np.float64], goal: NDArray[np.float64], near: float = 0.25
) -> float | None:
    """Distance that a robot went beyond its goal in the direction in which it first came near.

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


DRIVING = (State.RUNNING, State.PLAN_EXPIRED)


class OnArrival:
    """Plans from the newest image as it is, and executes each plan from its first command on.

    For velocities, and models with one frame of history: the commands of the past stay out of it.
    Everything else is the controller's, so that nothing but the times differs.
    """

    def __init__(self, controller: Controller) -> None:
        """Control with `controller`, whose plans must start from the image: no delay assumed."""
        self._controller = controller
        self._commands: deque[NDArray[np.float64]] = deque()
        self._newest_ns = 0

    @property
    def inputs(self) -> SensorSpec:
        """See Controller."""
        return self._controller.inputs

    def add_measurement(self, name: str, data: NDArray[np.float64], stamp_ns: int) -> str | None:
        """See Controller."""
        return self._controller.add_measurement(name, data, stamp_ns)

    def reset(self) -> None:
        """See Controller."""
        self._controller.reset()
        self._commands.clear()

    def set_goal(self, image: NDArray[np.uint8]) -> bool:
        """See Controller."""
        return self._controller.set_goal(image)

    def observe(self, image: ImageSource, stamp_ns: int) -> str | None:
        """See Controller."""
        self._newest_ns = stamp_ns
        return self._controller.observe(image, stamp_ns)

    def plan(self, now_ns: int, clock: Callable[[], int] | None = None) -> PlanReport:
        """See Controller; the plan is in force when this returns, no delay is measured."""
        report = self._controller.plan(self._newest_ns)
        if report.timed is not None and report.accepted:
            self._commands = deque(report.timed.commands)
        return report

    def command(self, now_ns: int) -> Command:
        """The next command of the plan, or the controller's stop."""
        command = self._controller.command(now_ns)
        if command.state not in DRIVING:
            return command
        action = self._commands.popleft() if self._commands else np.zeros(2)
        return replace(command, action=action)
