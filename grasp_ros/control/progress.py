"""Progress towards the goal: reached, released, stalled, and the shrinking horizon."""

from __future__ import annotations

import math
from enum import IntEnum

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.types import State

RELEASE = 2.0
"""Released at so many times the reached distance, where no calibration says better."""


def is_progress(distance: float, best: float | None, config: ControllerConfig) -> bool:
    """Whether a goal distance is nearer than the `best` before by more than the noise explains."""
    if best is None:
        return True
    return distance < best * (1 - config.progress_ratio) - config.progress_noise


def goal_bounds(config: ControllerConfig, tolerance: float | None) -> tuple[float, float]:
    """Goal distances below which a goal counts as reached, and above which no longer.

    Args:
        config: its bounds hold where no tolerance is given.
        tolerance: goal distance that counts as reached for one goal, or None.
    """
    if tolerance is None:
        return config.reached_distance, config.released_distance
    ratio = RELEASE
    if config.reached_distance > 0:
        ratio = max(1.0, config.released_distance / config.reached_distance)
    return tolerance, max(ratio * tolerance, tolerance + config.progress_noise)


class StallMonitor:
    """Notices that a robot is driven without coming nearer; stays stalled until restarted."""

    def __init__(self, config: ControllerConfig) -> None:
        """Watch by `config.give_up_time`; 0 never gives up."""
        self._config = config
        self.reset()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Watch by another config from now on."""
        self._config = config

    def reset(self) -> None:
        """Begin anew: with a new goal, or because somebody says to try again."""
        self._best: float | None = None
        self._idle_s = 0.0
        self._last_ns: int | None = None
        self._stalled = ''

    def update(self, now_ns: int, distance: float, driven: bool) -> str:
        """Give the reason to give up; empty while there is hope.

        Args:
            now_ns: present time.
            distance: goal distance.
            driven: whether commands of a plan move the robot; time without them does not count.
        """
        config = self._config
        since_s = 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        if self._stalled or not config.give_up_time:
            return self._stalled
        if is_progress(distance, self._best, config):
            self._best, self._idle_s = distance, 0.0
        elif driven:
            # Of a gap without images, the robot was driven in the beginning only.
            self._idle_s += min(max(since_s, 0.0), config.image_timeout)
        if self._idle_s > config.give_up_time:
            self._stalled = (
                f'driven for {self._idle_s:.1f} s without coming nearer to the goal than '
                f'{self._best:.3g}, goal.give_up_time is {config.give_up_time:g} s; give a new '
                'goal, or enable again'
            )
        return self._stalled


class PlanHorizon:
    """Horizon of one robot's plans: full after a reset, then shrinking with the executed steps."""

    def __init__(self, config: ControllerConfig) -> None:
        """Begin with the full horizon of `config`."""
        self._config = config
        self._step_ns = round(config.model_dt * 1e9)
        self.reset()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another config of the same `model_dt`; what was executed still counts."""
        self._config = config

    def reset(self) -> None:
        """Give the full horizon back and measure progress anew."""
        self._began_ns: int | None = None
        self._progress: tuple[float, int] | None = None

    def next(self, start_ns: int, distance: float) -> int:
        """Choose the horizon of a plan, model steps.

        Args:
            start_ns: when its first action is due.
            distance: goal distance of the image that it is made from.
        """
        config = self._config
        if config.horizon_mode == 'fixed':
            return config.horizon
        best = self._progress
        if best is None or is_progress(distance, best[0], config):
            self._progress = (distance, start_ns)
        elif (start_ns - best[1]) / 1e9 > config.stall_time:
            self.reset()
        if self._began_ns is None:
            self._began_ns = start_ns
        executed = (start_ns - self._began_ns) // self._step_ns
        return max(min(config.horizon_floor, config.horizon), config.horizon - executed)


class Outcome(IntEnum):
    """Outcome of a run; the values are those of grasp_ros/action/ReachGoal."""

    REACHED = 0
    STALLED = 1
    TIMED_OUT = 2
    CANCELLED = 3
    ABORTED = 4


class GoalRun:
    """State of a run towards a goal of the action, followed at each control tick.

    Attributes:
        elapsed_s: since acceptance, seconds.
        distance: goal distance of the newest image; NaN while unknown.
    """

    def __init__(self, timeout_s: float, hold_s: float) -> None:
        """Begin.

        Args:
            timeout_s: to arrive and hold; 0 for none.
            hold_s: how long the goal must count as reached, without a break.
        """
        self._timeout_s = timeout_s
        self._hold_s = hold_s
        self._held_s: float | None = None
        self._first: float | None = None
        self.elapsed_s = 0.0
        self.distance = math.nan

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the goal, by the goal distance."""
        if self._first is None or not self._first > 0:
            return 0.0 if self._first is None else 1.0
        return min(max(1 - self.distance / self._first, 0.0), 1.0)

    def advance(self, seconds: float, state: State, distance: float) -> Outcome | None:
        """The outcome, or None while the run goes on.

        Args:
            seconds: since the last tick, >= 0.
            state: of the controller now.
            distance: goal distance of the newest image; NaN while unknown.
        """
        self.elapsed_s += seconds
        if math.isfinite(distance):
            self.distance = distance
            if self._first is None:
                self._first = distance
        if state is State.REACHED:
            self._held_s = 0.0 if self._held_s is None else self._held_s + seconds
            if self._held_s >= self._hold_s:
                return Outcome.REACHED
        else:
            self._held_s = None
        if state is State.STALLED:
            return Outcome.STALLED
        if self._timeout_s and self.elapsed_s >= self._timeout_s:
            return Outcome.TIMED_OUT
        return None
