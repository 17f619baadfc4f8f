"""What an active node says in the log: changes of state, and warnings that do not flood it."""

from __future__ import annotations

import time
from typing import Any

from grasp_ros.control.types import Command, State

THROTTLE_S = 5.0


class StateLog:
    """Logs each state once, and each kind of warning every few seconds at most."""

    def __init__(self, logger: Any) -> None:
        """Log to `logger`, of a ROS node."""
        self._logger = logger
        self.clear()

    def clear(self) -> None:
        """Forget what was said, as on activation."""
        self._state: State | None = None
        self._warned: dict[str, float] = {}

    def state(self, command: Command) -> None:
        """Say that the state has changed, if so."""
        if command.state == self._state:
            return
        self._state = command.state
        text = f'{command.state.name}: {command.reason}' if command.reason else command.state.name
        # rclpy refuses one call site with two severities.
        if command.state >= State.STALE_IMAGE:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def warn(self, key: str, text: str, once: bool = False) -> None:
        """Warn at most every few seconds for each `key`, or once since `clear`."""
        now = time.monotonic()
        if key in self._warned and (once or now - self._warned[key] < THROTTLE_S):
            return
        self._warned[key] = now
        self._logger.warning(text)
