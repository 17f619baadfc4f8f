"""Closed loop of a simulated episode and what drives it, in simulated time.

What is driven is a `SimulatedEpisode`; each task has its own in its folder. One episode with a
controller is driven by `drive`, control period by control period, or by `tick` where planning takes
simulated time; many episodes with one batched planner by the benchmark's `TrialRunner`, which keeps
the same order of events. Training drives no episode that can succeed: it records motion in many
worlds at once (`grasp_ros/training/data/simulated.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import NANOSECONDS, Command
from grasp_ros.models.sensors import PROPRIOCEPTION, SensorSpec
from grasp_ros.sim.protocol import CameraRobot, ProprioceptiveRobot, SuccessMonitor, Task


class SimulatedEpisode(Protocol):
    """An episode of one robot in its world, from its start on, and its success.

    In each control period `ended` is asked first, then the robot is observed and takes a step.
    """

    @property
    def goal_image(self) -> Any:
        """Observation of the goal, as `observe` gives one of now."""
        ...

    def observe(self) -> Any:
        """Observe the robot now: an image (h, w, 3) uint8 RGB, or what else a model is shown."""
        ...

    def step(self, command: NDArray[np.float64]) -> None:
        """Execute a command (R,) in physical units for one control period."""
        ...

    def ended(self) -> bool:
        """Take note of where the robot is now; whether the episode is over."""
        ...


@runtime_checkable
class ProprioceptiveEpisode(SimulatedEpisode, Protocol):
    """An episode of a robot with proprioception."""

    def proprioception(self) -> NDArray[np.float64]:
        """Components (Q,) of now, in physical units."""
        ...


class Driver(Protocol):
    """A controller, or something like it; see Controller."""

    @property
    def inputs(self) -> SensorSpec: ...  # noqa: D102 - as the Controller's, all of them
    def reset(self) -> None: ...  # noqa: D102
    def set_goal(self, image: NDArray[np.uint8]) -> bool: ...  # noqa: D102
    def add_measurement(  # noqa: D102
        self, name: str, data: NDArray[np.float64], stamp_ns: int
    ) -> str | None: ...
    def observe(self, image: NDArray[np.uint8], stamp_ns: int) -> str | None: ...  # noqa: D102
    def plan(self, now_ns: int) -> PlanReport: ...  # noqa: D102
    def command(self, now_ns: int) -> Command: ...  # noqa: D102


@dataclass(frozen=True)
class Drive:
    """Solves of an episode that was driven.

    Attributes:
        solve_times_s: of all solves, wall-clock.
        cut: whether it was given up undecided, for want of time.
    """

    solve_times_s: tuple[float, ...]
    cut: bool


def lock_step(config: ControllerConfig, period_s: float, replan_every: int) -> ControllerConfig:
    """The policy `config` with the times of lock step: plans act after one control period."""
    return replace(
        config,
        planning_delay=period_s,
        max_plan_age=(replan_every + 2) * period_s,
        image_timeout=2 * period_s,
    )


def tick(driver: Driver, episode: SimulatedEpisode, now_ns: int) -> NDArray[np.float64]:
    """Let a control period pass: observe, take a command and execute it.

    Args:
        driver: is shown the episode as it is now.
        episode: takes a step.
        now_ns: simulated time.

    Returns:
        The command (R,); zeros where the driver has none.

    Raises:
        TypeError: if the driver's model wants proprioception and the episode has none.
    """
    if driver.inputs.proprioception is not None:
        if not isinstance(episode, ProprioceptiveEpisode):
            raise TypeError('the model wants proprioception, of which the episode has none')
        driver.add_measurement(PROPRIOCEPTION, episode.proprioception(), now_ns)
    driver.observe(episode.observe(), now_ns)
    action = driver.command(now_ns).action
    command = np.zeros(2) if action is None else action
    episode.step(command)
    return command


def drive(
    driver: Driver,
    episode: SimulatedEpisode,
    period_s: float,
    replan_every: int = 1,
    most_solving_s: float = math.inf,
) -> Drive:
    """Drive one episode to its end, in lock step: planning takes no simulated time.

    Args:
        driver: with a policy as `lock_step` makes it; it is reset.
        episode: at its beginning.
        period_s: control period.
        replan_every: control periods between replans; a plan must live so long.
        most_solving_s: wall-clock seconds of solves after which the episode is given up.
    """
    driver.reset()
    driver.set_goal(episode.goal_image)
    times: list[float] = []
    step = 0
    while not episode.ended():
        now_ns = round(step * period_s * NANOSECONDS)
        tick(driver, episode, now_ns)
        if step % replan_every == 0:
            plan = driver.plan(now_ns).plan
            if plan is not None:
                times.append(plan.solve_time_s)
                if sum(times) > most_solving_s:
                    return Drive(tuple(times), cut=True)
        step += 1
    return Drive(tuple(times), cut=False)


class RobotEpisode:
    """An episode of any task's camera robot, as SimulatedEpisode; its time begins at 0."""

    def __init__(
        self, task: Task, robot: CameraRobot, monitor: SuccessMonitor, period_s: float
    ) -> None:
        """Begin where the robot is.

        Args:
            task: of the robot.
            robot: at the time 0 s.
            monitor: of the episode.
            period_s: control period.
        """
        self._task, self._robot, self._period_s = task, robot, period_s
        self._step = 0
        self.monitor = monitor

    @property
    def goal_image(self) -> NDArray[np.uint8]:
        """See SimulatedEpisode."""
        return self._robot.goal_image()

    def observe(self) -> NDArray[np.uint8]:
        """See SimulatedEpisode."""
        return self._robot.image()

    def proprioception(self) -> NDArray[np.float64]:
        """Velocity (2,) in m/s.

        Raises:
            TypeError: if the robot has none.
        """
        if not isinstance(self._robot, ProprioceptiveRobot):
            raise TypeError(f'the robot of {self._task.name} has no proprioception')
        return self._robot.velocity()

    def step(self, command: NDArray[np.float64]) -> None:
        """See SimulatedEpisode."""
        self._robot.command(command, self._step * self._period_s)
        self._step += 1
        self._robot.advance_to(self._step * self._period_s)

    def ended(self) -> bool:
        """See SimulatedEpisode."""
        return self.monitor.update(self._task.state(self._robot.truth()))
