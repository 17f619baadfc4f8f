"""Command timer: the command due now from the plans in force, or the stop."""

from __future__ import annotations

from collections.abc import Iterator

from grasp_ros.control.command_limiter import CommandLimiter
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.limits import Limits, NonFiniteCommandError
from grasp_ros.control.shared_state import SharedState
from grasp_ros.control.synchronizer import ApproximateTimeSynchronizer
from grasp_ros.control.types import NANOSECONDS, ClampCounts, Command, State
from grasp_ros.models.action_space import ActionSpace


class CommandLoop:
    """Decides at each control tick what may be sent; for one thread, which never plans."""

    def __init__(
        self,
        space: ActionSpace,
        limits: Limits,
        config: ControllerConfig,
        shared: SharedState,
        sensors: ApproximateTimeSynchronizer,
    ) -> None:
        """Begin with nothing published.

        Args:
            space: the commands' meaning.
            limits: of the commands, physical units.
            config: horizon, times, distances, checks.
            shared: state shared with the planning loop.
            sensors: tells which sensor is missing.
        """
        self._config, self._shared, self._sensors = config, shared, sensors
        self._limiter = CommandLimiter(
            space,
            limits,
            config.step_ns // space.frame_skip,
            config.stop_decay,
            config.dry_run,
            shared.published,
        )
        self._last_now_ns: int | None = None

    @property
    def clamps(self) -> ClampCounts:
        """Commands that the limits changed, since `reset`."""
        return self._limiter.clamps

    def reset(self) -> None:
        """Forget what was published, as on activation."""
        self._sensors.clear()
        self._limiter.reset()
        self._last_now_ns = None

    def restart_time(self) -> None:
        """Forget frames, plans and faults where time has jumped; goal and last command stay."""
        self._sensors.clear()
        self._shared.clear()
        self._last_now_ns = None
        self._limiter.forget_time()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another config from the next command on."""
        self._config = config
        self._sensors.tolerance_s = config.sync_tolerance
        self._limiter.reconfigure(config.stop_decay, config.dry_run)

    def command(self, now_ns: int, steady_ns: int | None = None) -> Command:
        """Give the command to send now; fast, never blocks on planning.

        Args:
            now_ns: present time of the stamps' clock.
            steady_ns: present time of the arrivals' clock, or None to go by stamps only.
        """
        before, timeout_s = self._last_now_ns, self._config.image_timeout
        if before is not None and now_ns < before - timeout_s * NANOSECONDS:
            self.restart_time()
        self._last_now_ns = now_ns
        reason, plans = self._shared.stop_reason(now_ns, steady_ns, timeout_s)
        if reason is not None:
            return self._stop(now_ns, *self._sensors.explained(*reason))
        timed = next((plan for plan in plans if plan.index(now_ns) >= 0), plans[-1])
        age = (now_ns - timed.observation_stamp_ns) / NANOSECONDS
        limit = self._config.max_plan_age
        if age > limit:
            expired = f'plan is {age:.2f} s old, max_plan_age is {limit:.2f} s'
            return self._stop(now_ns, State.PLAN_EXPIRED, expired)
        action = timed.at(now_ns)
        if action is None:
            early = timed.index(now_ns) < 0
            if early:
                return self._stop(now_ns, State.PLANNING, 'the first action is not due yet')
            return self._stop(now_ns, State.PLAN_EXPIRED, 'all actions of the plan are executed')
        try:
            limited, clamped = self._limiter.command(action, now_ns)
        except NonFiniteCommandError as error:
            return self._stop(now_ns, State.BAD_PLAN, str(error))
        return Command(limited, State.RUNNING, '', clamped, timed.observation_stamp_ns)

    def halt(self, now_ns: int) -> Iterator[Command]:
        """Give the stop to publish when control ends: deactivation, shutdown, error, signal.

        The first command is due now, each other one a control period later; see
        `CommandLimiter.halt`.
        """
        for action in self._limiter.halt(now_ns):
            yield Command(action, State.DISABLED, 'control ended')

    def _stop(self, now_ns: int, state: State, reason: str) -> Command:
        """The way to the stop action; nothing before any command."""
        action, clamped = self._limiter.stop(now_ns)
        return Command(action, state, reason, clamped)
