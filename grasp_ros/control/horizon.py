"""How long the next plan is: fixed, or shrinking with what was executed and renewed by a stall."""

from __future__ import annotations

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.progress import is_progress


class PlanHorizon:
    """The horizon of one robot's plans; it forgets everything when it is renewed."""

    def __init__(self, config: ControllerConfig) -> None:
        """Begin with the full horizon of `config`."""
        self._config = config
        self._step_ns = round(config.model_dt * 1e9)
        self.renew()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another policy of the same `model_dt`; what was executed still counts."""
        self._config = config

    def renew(self) -> None:
        """Give the full horizon back and start judging progress anew."""
        self._began_ns: int | None = None
        self._progress: tuple[float, int] | None = None

    def next(self, start_ns: int, distance: float) -> int:
        """Model steps of a plan.

        Args:
            start_ns: when its first action is due.
            distance: goal distance of the picture that it is made from.
        """
        config = self._config
        if config.horizon_mode == 'fixed':
            return config.horizon
        best = self._progress
        if best is None or is_progress(distance, best[0], config):
            self._progress = (distance, start_ns)
        elif (start_ns - best[1]) / 1e9 > config.stall_time:
            self.renew()
        if self._began_ns is None:
            self._began_ns = start_ns
        executed = (start_ns - self._began_ns) // self._step_ns
        return max(min(config.horizon_floor, config.horizon), config.horizon - executed)
