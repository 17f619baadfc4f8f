"""Progress towards the goal: when it counts as reached, and when to give it up."""

from __future__ import annotations

from grasp_ros.control.config import ControllerConfig

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


class StallWatch:
    """Notices that a robot is driven without coming nearer; stays stalled until restarted."""

    def __init__(self, config: ControllerConfig) -> None:
        """Watch by `config.give_up_time`; 0 never gives up."""
        self._config = config
        self.restart()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Watch by another policy from now on."""
        self._config = config

    def restart(self) -> None:
        """Judge anew: a new goal, or somebody says to try again."""
        self._best: float | None = None
        self._idle_s = 0.0
        self._last_ns: int | None = None
        self._stalled = ''

    def update(self, now_ns: int, distance: float, driven: bool) -> str:
        """Why to give up; empty where there is hope.

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
            # Of a gap without pictures, the robot was driven in the beginning only.
            self._idle_s += min(max(since_s, 0.0), config.image_timeout)
        if self._idle_s > config.give_up_time:
            self._stalled = (
                f'driven for {self._idle_s:.1f} s without coming nearer to the goal than '
                f'{self._best:.3g}, goal.give_up_time is {config.give_up_time:g} s; give a new '
                'goal, or enable again'
            )
        return self._stalled
