"""Receding-horizon control: from pictures and a goal to the command due now, or the stop.

Two threads may use a Controller: one plans (`plan`), one does everything else. It never reads a
clock: every time is handed in, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.command_limiter import CommandLimiter
from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.delay import DelayEstimator, delay_bounds
from grasp_ros.control.failures import SolveFailures, is_device_lost, is_out_of_memory
from grasp_ros.control.image_checks import ImageCheck, ImageGuard, NoveltyMeasure
from grasp_ros.control.limits import Limits, NonFiniteCommandError
from grasp_ros.control.observation import ImageSource, Picture, SensorData, goal_view
from grasp_ros.control.plan_report import PlanReport
from grasp_ros.control.planning_loop import BadPlanError, EncodedObservation, RecedingHorizon
from grasp_ros.control.progress import StallMonitor, goal_bounds
from grasp_ros.control.shared_state import Goal, SharedState, StateSnapshot
from grasp_ros.control.synchronizer import ApproximateTimeSynchronizer, Data, SensorDataError
from grasp_ros.control.timed_plan import TimedPlan
from grasp_ros.control.types import ClampCounts, Command, State, Timer, untimed
from grasp_ros.models.action_space import ActionSpace
from grasp_ros.models.protocol import WorldModel
from grasp_ros.models.sensors import SensorSpec
from grasp_ros.planning.protocol import Planner

NANOSECONDS = 1_000_000_000


class Controller:
    """Plans for the situation, and decides at each control tick what may be sent."""

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        preprocess: Callable[[Picture], NDArray[np.float32]],
        space: ActionSpace,
        limits: Limits,
        config: ControllerConfig,
        timer: Timer = untimed,
        novelty: NoveltyMeasure | None = None,
        inputs: SensorSpec | None = None,
    ) -> None:
        """Control with a model and a planner that was built for it.

        Args:
            model: the world model.
            planner: plans with it.
            preprocess: (h, w, 3) uint8 RGB to the encoder's input (3, h', w') float in [0, 1].
            space: the commands' meaning.
            limits: last gate before a command leaves, physical units.
            config: the policy.
            timer: of the phases of planning.
            novelty: how unlike the training data a picture is; None where nothing tells.
            inputs: what an observation is made of; None for one camera.
        """
        self.config = config
        self.inputs = inputs or SensorSpec()
        self._sensors = ApproximateTimeSynchronizer(self.inputs, config.sync_tolerance)
        self._timer = timer
        self._guard = ImageGuard(novelty)
        self._horizon = RecedingHorizon(
            model, planner, preprocess, space, limits, config, timer, self.inputs
        )
        self._situation = SharedState(self._horizon.memory_ns)
        self._delay = DelayEstimator(*delay_bounds(config, self._horizon.period_s))
        self._gate = CommandLimiter(
            space, limits, self._horizon.period_ns, config.stop_decay, config.dry_run
        )
        self._failures = SolveFailures()
        self._stall = StallMonitor(config)
        self._planning_since_ns: int | None = None
        self._planned_epoch = 0
        self._last_now_ns: int | None = None

    def _clear(self) -> None:
        """Forget frames, plans and faults; the goal and the last command stay."""
        self._sensors.clear()
        self._situation.clear()
        self._last_now_ns = None
        self._gate.forget_time()

    def prepare(self) -> list[float]:
        """Prepare the planner and solve until the time is steady; solve times in seconds."""
        return self._horizon.prepare()

    def reset(self) -> None:
        """Forget goal, frames, plans and published commands, as on activation."""
        self._failures.clear()
        self._sensors.clear()
        self._gate.reset()
        self._delay.reset()
        self._last_now_ns = None
        self._situation.reset()  # last: what is planned from then on finds all the rest reset

    def enable(self, enabled: bool) -> None:
        """Stop and hold, or resume with a new plan."""
        self._situation.enable(enabled)

    def hold(self, key: str, state: State | None, reason: str = '') -> None:
        """Stop for what only the caller sees, until it is taken back with None.

        Args:
            key: which reason; several may hold at once.
            state: to report, or None.
            reason: for people.
        """
        self._situation.hold(key, state, reason)

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another policy from the next plan on; horizon and `model_dt` must stay."""
        self._horizon.reconfigure(config)
        self._stall.reconfigure(config)
        self._sensors.tolerance_s = config.sync_tolerance
        self._delay.configure(*delay_bounds(config, self._horizon.period_s))
        self._gate.reconfigure(config.stop_decay, config.dry_run)
        self.config = config

    def observe(
        self,
        image: ImageSource,
        stamp_ns: int,
        *,
        now_ns: int | None = None,
        arrival_ns: int | None = None,
    ) -> str | None:
        """Keep an image of the (first) camera; see `sense`."""
        camera = self.inputs.cameras[0]
        return self.sense(camera, image, stamp_ns, now_ns=now_ns, arrival_ns=arrival_ns)

    def sense(
        self,
        name: str,
        data: Data,
        stamp_ns: int,
        *,
        now_ns: int | None = None,
        arrival_ns: int | None = None,
    ) -> str | None:
        """Keep what a sensor gave; what all of them gave at nearly one time is an observation.

        Args:
            name: of the sensor, one of `inputs.names`.
            data: picture (h, w, 3) uint8 RGB, or a function that decodes it on the planning
                thread; proprioception (Q,) in physical units.
            stamp_ns: acquisition time.
            now_ns: present time of the stamps' clock; None trusts the stamp.
            arrival_ns: arrival on a steady clock, judged by `command(steady_ns=...)`.

        Returns:
            None, or why it was refused.
        """
        try:
            frame = self._sensors.add(name, data, stamp_ns, now_ns)
        except SensorDataError as error:
            return str(error)
        if frame is None:
            return None
        newest = self._situation.frames.newest_ns
        if newest is not None and frame.stamp_ns < newest:
            if newest - frame.stamp_ns < self.config.image_timeout * NANOSECONDS:
                return 'image is older than one received before'
            self._clear()
        self._situation.add_frame(frame, arrival_ns)
        return None

    def set_goal(
        self, image: Picture, tolerance: float | None = None, restart: bool = False
    ) -> bool:
        """Take a goal image (h, w, 3) uint8 RGB.

        Args:
            image: the goal; for several cameras their pictures side by side.
            tolerance: goal distance that counts as reached; None for that of the policy.
            restart: begin anew with unchanged content, too, as after a stall.

        Returns:
            Whether it is a new goal; unchanged content is ignored, a new one clears the plan.

        Raises:
            ValueError: if the picture cannot be that of so many cameras.
        """
        goal_view(image, len(self.inputs.cameras))
        return self._situation.set_goal(image, tolerance, restart)

    def clear_goal(self) -> None:
        """Stop, and wait for the next goal."""
        self._situation.clear_goal()

    @property
    def observations(self) -> int:
        """Complete ones so far."""
        return self._sensors.complete

    @property
    def verdict(self) -> ImageCheck:
        """On the newest picture that was looked at."""
        return self._situation.frames.verdict

    @property
    def prediction_error(self) -> float:
        """Of what was imagined for it, in model steps of motion; NaN where it is unknown."""
        return self._situation.frames.prediction_error

    @property
    def goal_distance(self) -> float:
        """Of the newest picture from the present goal; NaN before it is known."""
        distance = self._situation.distance
        return float('nan') if distance is None else distance

    @property
    def planning_delay(self) -> float:
        """Seconds from the start of planning to a plan's first action: measured, or configured."""
        return self._delay.value_s

    @property
    def plans_dropped(self) -> int:
        """Plans made for a goal, an activation or a time that is no more, since `reset`."""
        return self._situation.plans_dropped

    @property
    def clamps(self) -> ClampCounts:
        """Commands that the limits changed, since `reset`."""
        return self._gate.clamps

    def planned(self, finished_ns: int) -> None:
        """Measure the delay of the newest plan, on the planning thread.

        Args:
            finished_ns: when `plan` returned, on the clock of its `now_ns`.
        """
        began_ns, self._planning_since_ns = self._planning_since_ns, None
        if began_ns is not None and self.config.estimate_delay:
            self._delay.add((finished_ns - began_ns) / NANOSECONDS)

    def plan(self, now_ns: int) -> PlanReport:
        """Plan from the newest image; slow, for the planning thread only.

        A fault of image, model or planner is reported and stops the robot; it never raises.
        """
        start = self._situation.snapshot()
        epoch, frames, goal = start.epoch, start.frames, start.goal
        executing = () if self.config.dry_run else start.plans
        self._planning_since_ns = None
        if start.unsettled:
            self._guard.clear()
        if not start.enabled:
            return PlanReport(State.DISABLED)
        if start.hold is not None:
            return PlanReport(*start.hold)
        if self._failures.final:
            return self._plan_fault(epoch, State.PLANNER_ERROR, self._failures.final, None)
        if not frames:
            bad = start.bad_image
            return PlanReport(State.BAD_IMAGE if bad else State.WAITING_IMAGE, bad)
        if epoch != self._planned_epoch:
            self._horizon.forget()
            self._stall.restart()
            self._planned_epoch = epoch
        try:
            outlook = self._horizon.look(frames, (goal.number, goal.picture) if goal else None)
            seen = self._horizon.seen(outlook, now_ns, self._gate.history)
            verdict = self._guard.examine(seen, self.config.guard)
            imagined = self._horizon.prediction_error(outlook, now_ns, self._gate.history)
        except Exception as error:  # whatever a decoder or model raises: stop
            if is_out_of_memory(error) or is_device_lost(error):
                return self._plan_fault(
                    epoch, State.PLANNER_ERROR, self._failures.failed(error), None
                )
            reason = f'{type(error).__name__}: {error}'
            self._situation.undecodable(epoch, reason)
            return PlanReport(State.STALE_IMAGE, reason)
        self._situation.examined(epoch, frames[-1].stamp_ns, verdict, imagined)
        if verdict.fault:
            self._horizon.forget()
            return PlanReport(State.BAD_IMAGE, verdict.fault, outlook=outlook)
        if goal is None or outlook.distance is None:
            return PlanReport(State.WAITING_GOAL, outlook=outlook)
        age, limit = (now_ns - frames[-1].stamp_ns) / NANOSECONDS, self.config.max_plan_age
        if age > limit:  # a plan would expire at once; rolling forward to now might never end
            reason = f'image is {age:.2f} s old, max_plan_age is {limit:.2f} s; check the clocks'
            return PlanReport(State.STALE_IMAGE, reason, outlook=outlook)
        settled = self._settle(outlook, goal, start, now_ns, bool(executing))
        if settled is not None:
            return settled
        if start.plans and not self._due(start.plans[0], frames[-1].stamp_ns):
            return PlanReport(State.RUNNING, outlook=outlook)
        try:
            with self._timer('plan', outlook.stamps_ns[-1]):
                plan, timed = self._horizon.solve(
                    outlook, now_ns, self._delay.value_s, self._gate.history, executing
                )
        except BadPlanError as fault:
            return self._plan_fault(epoch, State.BAD_PLAN, str(fault), outlook)
        except Exception as error:  # whatever a planner raises: stop
            return self._plan_fault(
                epoch, State.PLANNER_ERROR, self._failures.failed(error), outlook
            )
        self._failures.succeeded()
        accepted = self._situation.planned(epoch, timed, now_ns)
        if accepted:
            self._planning_since_ns = now_ns
        return PlanReport(
            State.RUNNING,
            plan=plan,
            timed=timed,
            outlook=outlook,
            horizon=plan.horizon,
            accepted=accepted,
        )

    def _due(self, newest: TimedPlan, stamp_ns: int) -> bool:
        """Whether a picture comes so long after that behind the newest plan as to be planned from.

        Half a control period is allowed for jitter.
        """
        passed_s = (stamp_ns - newest.observation_stamp_ns) / NANOSECONDS
        return passed_s > self.config.replan_period - self._horizon.period_s / 2

    def _settle(
        self,
        outlook: EncodedObservation,
        goal: Goal,
        start: StateSnapshot,
        now_ns: int,
        driven: bool,
    ) -> PlanReport | None:
        """Why there is nothing to plan: given up, reached, or unknown; None where there is."""
        assert outlook.distance is not None
        epoch = start.epoch
        if not np.isfinite(outlook.distance):
            return self._plan_fault(
                epoch, State.BAD_PLAN, 'the world model gives a non-finite goal distance', outlook
            )
        self._situation.measured(epoch, outlook.distance)
        stalled = self._stall.update(now_ns, outlook.distance, driven)
        if stalled:
            return self._plan_fault(epoch, State.STALLED, stalled, outlook)
        limit, released = goal_bounds(self.config, goal.tolerance)
        if start.reached:
            limit = max(limit, released)
        if outlook.distance >= limit:
            return None
        accepted = self._situation.arrived(epoch)
        self._horizon.renew()
        self._stall.restart()
        return PlanReport(State.REACHED, outlook=outlook, accepted=accepted)

    def command(self, now_ns: int, steady_ns: int | None = None) -> Command:
        """What to send now; fast, never blocks on planning.

        Args:
            now_ns: present time of the stamps' clock.
            steady_ns: present time of the arrivals' clock, or None to judge by stamps only.
        """
        before = self._last_now_ns
        if before is not None and now_ns < before - self.config.image_timeout * NANOSECONDS:
            self._clear()
        self._last_now_ns = now_ns
        fault, plans = self._situation.judge(now_ns, steady_ns, self.config.image_timeout)
        if fault is not None:
            return self._stop(now_ns, *self._sensors.explained(*fault))
        timed = next((plan for plan in plans if plan.index(now_ns) >= 0), plans[-1])
        age = (now_ns - timed.observation_stamp_ns) / NANOSECONDS
        limit = self.config.max_plan_age
        if age > limit:
            reason = f'plan is {age:.2f} s old, max_plan_age is {limit:.2f} s'
            return self._stop(now_ns, State.PLAN_EXPIRED, reason)
        action = timed.at(now_ns)
        if action is None:
            early = timed.index(now_ns) < 0
            if early:
                return self._stop(now_ns, State.PLANNING, 'the first action is not due yet')
            return self._stop(now_ns, State.PLAN_EXPIRED, 'all actions of the plan are executed')
        try:
            limited, clamped = self._gate.command(action, now_ns)
        except NonFiniteCommandError as error:
            return self._stop(now_ns, State.BAD_PLAN, str(error))
        return Command(limited, State.RUNNING, '', clamped, timed.observation_stamp_ns)

    def halt(self, now_ns: int) -> Iterator[Command]:
        """The stop to publish when control ends: deactivation, shutdown, error, signal.

        The first command is due now, each other one a control period later; see
        `CommandLimiter.halt`.
        """
        for action in self._gate.halt(now_ns):
            yield Command(action, State.DISABLED, 'control ended')

    def views(self) -> tuple[SensorData, SensorData] | None:
        """What was planned from last, and the goal, if known."""
        now, goal = self._horizon.view, self._situation.goal
        if now is None or goal is None:
            return None
        return now, goal_view(goal.picture, len(self.inputs.cameras))

    def image_age(self, now_ns: int) -> float:
        """Age of the newest usable image by its stamp, seconds; NaN without one."""
        return self._situation.frames.age_s(now_ns)

    def plan_age(self, now_ns: int) -> float:
        """Age of the image behind the newest plan, seconds; NaN without a plan."""
        plans = self._situation.plans
        if not plans:
            return float('nan')
        return (now_ns - plans[0].observation_stamp_ns) / NANOSECONDS

    def _stop(self, now_ns: int, state: State, reason: str) -> Command:
        """The way to the stop action; nothing before any command."""
        action, clamped = self._gate.stop(now_ns)
        return Command(action, state, reason, clamped)

    def _plan_fault(
        self, epoch: int, state: State, reason: str, outlook: EncodedObservation | None
    ) -> PlanReport:
        self._situation.failed(epoch, state, reason)
        self._horizon.forget()
        return PlanReport(state, reason, outlook=outlook)
