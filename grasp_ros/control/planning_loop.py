"""Planning thread: one image's way from the camera to a plan, in the order of `PlanningLoop.plan`.

Encode, check, goal reached?, roll forward, warm start, solve, hand over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.delay import DelayEstimator, RollForward, delay_bounds
from grasp_ros.control.failures import BadPlanError, SolveFailures, check_plan, is_device_error
from grasp_ros.control.image_checks import ImageCheck, ImageGuard, PredictionCheck
from grasp_ros.control.limits import Limits, project
from grasp_ros.control.observation import (
    EncodedObservation,
    Goal,
    LatentContext,
    ObservationEncoder,
)
from grasp_ros.control.progress import PlanHorizon, StallMonitor, goal_bounds
from grasp_ros.control.shared_state import Fault, SharedState, StateSnapshot
from grasp_ros.control.timed_plan import TimedPlan
from grasp_ros.control.types import NANOSECONDS, State, Timer, untimed
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.protocol import LoadedModel, rollout, visual
from grasp_ros.planning.initial_guess import resize, shift
from grasp_ros.planning.problem import Plan, PlanProblem, to_numpy
from grasp_ros.planning.protocol import Planner, warm_up

UNKNOWN = float('nan')


@dataclass(frozen=True, eq=False)
class PlanReport:
    """Result of one replan: all that it found, and why it ended.

    Attributes:
        state: RUNNING where a plan was made or the last one still serves, REACHED, or why there is
            no plan.
        reason: for people; empty where all is well.
        goal: that it was made for, or None.
        encoded: the newest observation; None where nothing could be encoded.
        image_check: of that observation; None where nothing could be encoded.
        prediction_error: of what was predicted for that observation, in model steps of motion;
            NaN where unknown.
        goal_distance: of that observation; NaN where unknown.
        plan: the new plan, or None.
        timed: its commands on the clock, or None.
        accepted: False where goal, activation or stop changed meanwhile and the plan was dropped.
        planning_delay_s: seconds from the start of planning to a plan's first action that the next
            replan will reckon with: measured, or configured.
    """

    state: State
    reason: str = ''
    goal: Goal | None = None
    encoded: EncodedObservation | None = None
    image_check: ImageCheck | None = None
    prediction_error: float = UNKNOWN
    goal_distance: float = UNKNOWN
    plan: Plan | None = None
    timed: TimedPlan | None = None
    accepted: bool = False
    planning_delay_s: float = UNKNOWN

    @property
    def counts(self) -> bool:
        """Whether the status follows it: neither does the last plan serve, nor was its dropped."""
        still_serves = self.state is State.RUNNING and self.plan is None
        return not still_serves and (self.plan is None or self.accepted)

    def ended(self, fault: Fault) -> PlanReport:
        """This report with the reason why there is no plan."""
        return replace(self, state=fault[0], reason=fault[1])


class PlanningLoop:
    """Replans from where the robot will be when the new plan can act.

    All but `restart` and `reconfigure` are for the planning thread.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        planner: Planner,
        limits: Limits,
        config: ControllerConfig,
        shared: SharedState,
        timer: Timer = untimed,
    ) -> None:
        """Begin without a plan.

        Args:
            loaded: the world model and its inputs.
            planner: plans with it.
            limits: of the commands, physical units.
            config: horizon, times, distances, checks.
            shared: state shared with the command loop.
            timer: of the phases of planning.
        """
        self._model, self._space = loaded.model, loaded.action_space
        self._planner, self._limits, self._config = planner, limits, config
        self._shared, self._timer = shared, timer
        self._step_ns = config.step_ns
        self._period_ns = self._step_ns // self._space.frame_skip
        self._period_s = self._period_ns / NANOSECONDS
        self._encoder = ObservationEncoder(loaded, self._step_ns, timer)
        self._guard = ImageGuard(loaded.novelty)
        self._prediction_check = PredictionCheck(self._step_ns, config.one_step_latent)
        self._stall = StallMonitor(config)
        self._delay = DelayEstimator(*delay_bounds(config, self._period_s))
        self._roll_forward = RollForward(loaded, limits, self._step_ns, shared.published)
        self._horizon = PlanHorizon(config)
        self._failures = SolveFailures()
        self._generator = torch.Generator(device=self._model.device)
        self._low, self._high, at_rest = (
            self._roll_forward.normalise(np.tile(command, (self._space.frame_skip, 1)))[0, 0]
            for command in (limits.low, limits.high, np.zeros(self._space.size))
        )
        # A position command 'stops' at the middle of its range, as padding only.
        position = self._space.kind is ActionKind.POSITION
        self._stop_action = (self._low + self._high) / 2 if position else at_rest
        self._previous: tuple[Plan, int] | None = None
        self._epoch = 0
        self._reset()

    def restart(self) -> None:
        """Forget failed solves and measured delays, as on activation; from any thread."""
        self._failures.clear()
        self._delay.reset()

    def reconfigure(self, config: ControllerConfig) -> None:
        """Follow another config from the next replan on; from any thread."""
        self._config = config
        self._horizon.reconfigure(config)
        self._stall.reconfigure(config)
        self._delay.configure(*delay_bounds(config, self._period_s))

    def prepare(self) -> list[float]:
        """Prepare the planner, on a GPU for every horizon; see `warm_up`."""
        like, model = self._low, self._model
        context = like.new_zeros(1, model.history, *model.latent_shape)
        past = like.new_zeros(1, model.history - 1, model.action_dim)
        goal, horizon = context[:, -1], self._config.horizon
        # What is captured belongs to one horizon; elsewhere there is nothing to prepare anew.
        shrinking = self._config.horizon_mode == 'shrinking' and model.device.type == 'cuda'
        lowest = min(self._config.horizon_floor, horizon) if shrinking else horizon
        for shorter in range(lowest, horizon):
            self._planner.prepare(self._problem(context, past, goal, shorter))
        problem = self._problem(context, past, goal, horizon)
        times = warm_up(self._planner, problem, self._generator)
        self._reset()
        return times

    def plan(self, now_ns: int, clock: Callable[[], int] | None = None) -> PlanReport:
        """Plan from the newest image; slow.

        A fault of image, model or planner is reported and stops the robot; it never raises.

        Args:
            now_ns: present time of the stamps' clock.
            clock: gives the time when the plan is ready, on the same clock; None measures no
                planning delay.
        """
        start = self._shared.snapshot()
        executing = () if self._config.dry_run else start.plans
        report = PlanReport(State.RUNNING, planning_delay_s=self._delay.value_s)
        fault = self._begin(start)
        if fault is not None:
            return report.ended(fault)
        # Encode and check.
        try:
            encoded = self._encoder.encode(start.frames, start.goal)
            change = partial(self._roll_forward.expected_change, encoded.context, now_ns)
            report = replace(
                report,
                goal=start.goal,
                encoded=encoded,
                goal_distance=self._goal_distance(encoded),
                image_check=self._guard.check(encoded, change, self._config.guard),
                prediction_error=self._prediction_error(encoded.context, now_ns),
            )
        except Exception as error:  # whatever a decoder or model raises: stop
            return report.ended(self._not_encoded(start.epoch, error))
        fault = self._refuse_image(report, start, now_ns)
        if fault is not None:
            return report.ended(fault)
        # Goal reached?
        fault = self._check_goal(report, start, bool(executing), now_ns)
        if fault is not None:
            return report.ended(fault)
        if not self._due(start, encoded.context.newest_ns):
            return report
        # Roll forward, warm start, solve.
        try:
            with self._timer('plan', encoded.context.newest_ns):
                plan, timed = self._solve(encoded, report.goal_distance, executing, now_ns)
        except Exception as error:  # whatever a planner raises: stop
            return report.ended(self._not_solved(start.epoch, error))
        # Hand over.
        self._failures.succeeded()
        accepted = self._shared.accept(start.epoch, timed, now_ns)
        if accepted and clock is not None and self._config.estimate_delay:
            self._delay.add((clock() - now_ns) / NANOSECONDS)
        return replace(
            report, plan=plan, timed=timed, accepted=accepted, planning_delay_s=self._delay.value_s
        )

    def _begin(self, start: StateSnapshot) -> Fault | None:
        """Follow a change of goal, activation or time; reason not to look at an image, if any."""
        if start.forget_images:
            self._guard.reset()
        if not start.enabled:
            return State.DISABLED, ''
        if start.hold is not None:
            return start.hold
        if self._failures.final:
            return self._stop(start.epoch, State.PLANNER_ERROR, self._failures.final)
        if not start.frames:
            bad = start.bad_image
            return State.BAD_IMAGE if bad else State.WAITING_IMAGE, bad
        if start.epoch != self._epoch:
            self._reset()
            self._stall.reset()
            self._epoch = start.epoch
        return None

    def _prediction_error(self, context: LatentContext, now_ns: int) -> float:
        """Error of what was predicted for this context, in model steps of motion."""
        if self._config.dry_run:  # what moves the robot is unknown
            return UNKNOWN

        def predict(former: LatentContext, steps: int) -> Tensor:
            ahead = self._roll_forward(former, steps, now_ns).latents[:, -1]
            return visual(self._model, ahead)

        try:
            return self._prediction_check.update(context, predict)
        except Exception:  # a model that cannot predict is reported when it is to plan
            return UNKNOWN

    def _goal_distance(self, encoded: EncodedObservation) -> float:
        if encoded.goal is None:
            return UNKNOWN
        with torch.no_grad():
            return float(self._planner.distance(encoded.context.newest, encoded.goal))

    def _not_encoded(self, epoch: int, error: Exception) -> Fault:
        if is_device_error(error):
            return self._stop(epoch, State.PLANNER_ERROR, self._failures.failed(error))
        reason = f'{type(error).__name__}: {error}'
        self._shared.undecodable(epoch, reason)
        return State.STALE_IMAGE, reason

    def _refuse_image(self, report: PlanReport, start: StateSnapshot, now_ns: int) -> Fault | None:
        """Reason not to plan from an image."""
        assert report.image_check is not None
        stamp_ns, fault = start.frames[-1].stamp_ns, report.image_check.fault
        self._shared.checked(start.epoch, stamp_ns, fault)
        if fault:
            self._reset()
            return State.BAD_IMAGE, fault
        if start.goal is None:
            return State.WAITING_GOAL, ''
        age, limit = (now_ns - stamp_ns) / NANOSECONDS, self._config.max_plan_age
        if age > limit:  # a plan would expire at once; rolling forward to now might never end
            reason = f'image is {age:.2f} s old, max_plan_age is {limit:.2f} s; check the clocks'
            return State.STALE_IMAGE, reason
        return None

    def _check_goal(
        self, report: PlanReport, start: StateSnapshot, driven: bool, now_ns: int
    ) -> Fault | None:
        """Reason why there is nothing to plan: goal given up, reached, or distance not finite."""
        distance, goal = report.goal_distance, start.goal
        assert goal is not None
        if not math.isfinite(distance):
            reason = 'the world model gives a non-finite goal distance'
            return self._stop(start.epoch, State.BAD_PLAN, reason)
        self._shared.set_goal_distance(start.epoch, distance)
        stalled = self._stall.update(now_ns, distance, driven)
        if stalled:
            return self._stop(start.epoch, State.STALLED, stalled)
        limit, released = goal_bounds(self._config, goal.tolerance)
        if start.reached:
            limit = max(limit, released)
        if distance >= limit:
            return None
        self._shared.arrived(start.epoch)
        self._horizon.reset()
        self._stall.reset()
        return State.REACHED, ''

    def _due(self, start: StateSnapshot, stamp_ns: int) -> bool:
        """Whether an image comes so long after that behind the newest plan as to be planned from.

        Half a control period is allowed for jitter.
        """
        if not start.plans:
            return True
        passed_s = (stamp_ns - start.plans[0].observation_stamp_ns) / NANOSECONDS
        return passed_s > self._config.replan_period - self._period_s / 2

    def _solve(
        self,
        encoded: EncodedObservation,
        distance: float,
        executing: tuple[TimedPlan, ...],
        now_ns: int,
    ) -> tuple[Plan, TimedPlan]:
        """Plan from where the robot will be when the plan's first action is due.

        Raises:
            BadPlanError: if the plan is not finite or its defect is above the bound.
            Exception: whatever planner or model raises.
        """
        assert encoded.goal is not None
        newest = encoded.context.newest_ns
        ready_ns = now_ns + round(self._delay.value_s * NANOSECONDS)
        steps = max(0, -(-(ready_ns - newest) // self._step_ns))
        begin = self._roll_forward(encoded.context, steps, now_ns, executing)
        start_ns = newest + steps * self._step_ns
        horizon = self._horizon.next(start_ns, distance)
        problem = self._problem(begin.latents, begin.past_actions, encoded.goal, horizon)
        plan = self._planner.plan(
            problem,
            self._warm_start(start_ns, horizon),
            generator=self._generator,
            deadline_s=self._config.deadline,
        )
        check_plan(plan, self._config.max_defect)
        commands = self._space.denormalise(to_numpy(plan.actions[0])).reshape(-1, self._space.size)
        if not self._limits.only_box:
            commands = project(commands, begin.setpoint, self._period_s, self._limits)
            plan = self._with_commands(plan, commands, problem)
            check_plan(plan, self._config.max_defect)
        self._previous = (plan, start_ns)
        return plan, TimedPlan(commands, start_ns, self._period_ns, observation_stamp_ns=newest)

    def _warm_start(self, start_ns: int, horizon: int) -> Plan | None:
        if self._previous is None:
            return None
        plan, began_ns = self._previous
        executed = max(0, round((start_ns - began_ns) / self._step_ns))
        position = self._space.kind is ActionKind.POSITION
        stop = plan.actions[0, -1] if position else self._stop_action
        return resize(shift(plan, executed, stop), horizon, stop)

    def _problem(self, context: Tensor, past: Tensor, goal: Tensor, horizon: int) -> PlanProblem:
        return PlanProblem(
            context=context,
            past_actions=past,
            goal=goal,
            action_low=self._low,
            action_high=self._high,
            stop_action=self._stop_action,
            horizon=horizon,
            frame_skip=self._space.frame_skip,
        )

    def _with_commands(
        self, plan: Plan, commands: NDArray[np.float64], problem: PlanProblem
    ) -> Plan:
        """The plan with the commands (N, R) that will be executed in place of its own."""
        actions = self._roll_forward.normalise(commands)
        with torch.no_grad():
            imagined = rollout(self._model, problem.context, problem.past_actions, actions)
            cost = self._planner.distance(imagined[:, -1], problem.goal)
        return replace(plan, actions=actions, rollout=imagined, terminal_cost=cost)

    def _not_solved(self, epoch: int, error: Exception) -> Fault:
        if isinstance(error, BadPlanError):
            return self._stop(epoch, State.BAD_PLAN, str(error))
        return self._stop(epoch, State.PLANNER_ERROR, self._failures.failed(error))

    def _stop(self, epoch: int, state: State, reason: str) -> Fault:
        """Stop until a plan succeeds or the goal is replaced; what was planned is void."""
        self._shared.failed(epoch, state, reason)
        self._reset()
        return state, reason

    def _reset(self) -> None:
        """Drop the previous plan and all frames; randomness starts from the seed again."""
        self._previous = None
        self._encoder.reset()
        self._prediction_check.reset()
        self._generator.manual_seed(self._config.seed)
        self._horizon.reset()
