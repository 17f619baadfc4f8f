"""One replan: encode, roll forward to when the plan can act, warm-start, solve, check.

Belongs to the planning thread; holds what is carried from one replan to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.image_checks import PredictionCheck, Seen, Sight
from grasp_ros.control.limits import Limits, Setpoint, project
from grasp_ros.control.observation import (
    HistoryEncoder,
    ObservationEncoder,
    Picture,
    SensorData,
    StampedObservation,
    goal_view,
)
from grasp_ros.control.progress import PlanHorizon
from grasp_ros.control.timed_plan import (
    CommandHistory,
    TimedPlan,
    commands_between,
    published_until,
)
from grasp_ros.control.types import Timer, untimed
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import WorldModel, rollout, visual
from grasp_ros.models.sensors import SensorSpec
from grasp_ros.planning.initial_guess import resize, shift
from grasp_ros.planning.problem import Plan, PlanProblem, to_numpy, to_tensor
from grasp_ros.planning.protocol import Planner

STEADY = 0.2
MAX_WARM_UPS = 20


class BadPlanError(Exception):
    """A plan that must not be executed; the message says why."""


@dataclass(frozen=True, eq=False)
class EncodedObservation:
    """What the model sees now.

    Attributes:
        context: latents (1, H, *Z), newest last.
        stamps_ns: of the frames behind them.
        goal: latents (1, *Z), or None without a goal.
        distance: goal distance of the newest frame, or None without a goal.
    """

    context: Tensor
    stamps_ns: tuple[int, ...]
    goal: Tensor | None
    distance: float | None


class RecedingHorizon:
    """Replans from where the robot will be when the new plan can act."""

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        preprocess: Callable[[Picture], NDArray[np.float32]],
        space: ActionSpace,
        limits: Limits,
        config: ControllerConfig,
        timer: Timer = untimed,
        inputs: SensorSpec | None = None,
    ) -> None:
        """See `Controller`."""
        inputs = inputs or SensorSpec()
        self._cameras = len(inputs.cameras)
        self._model = model
        self._planner = planner
        self._encode = ObservationEncoder(model, preprocess, inputs, timer)
        self._space = space
        self._limits = limits
        self._config = config
        self._step_ns = round(config.model_dt * 1e9)
        self._period_ns = self._step_ns // space.frame_skip
        like = torch.zeros((), dtype=model.dtype, device=model.device)
        skip = space.frame_skip
        self._low = to_tensor(space.normalise(np.tile(limits.low, (skip, 1))), like)
        self._high = to_tensor(space.normalise(np.tile(limits.high, (skip, 1))), like)
        self._encoder = HistoryEncoder(self._encode, model.history, self._step_ns, timer)
        self._generator = torch.Generator(device=model.device)
        self._goal: tuple[int, Tensor] | None = None
        self._predictions = PredictionCheck(self._step_ns, config.one_step_latent)
        self._horizon = PlanHorizon(config)
        self.forget()

    @property
    def period_ns(self) -> int:
        """Nanoseconds between commands."""
        return self._period_ns

    @property
    def period_s(self) -> float:
        """Seconds between commands."""
        return self._period_ns / 1e9

    @property
    def memory_ns(self) -> int:
        """How long frames matter: the model's history and half a step."""
        return (2 * self._model.history - 1) * self._step_ns // 2

    @property
    def view(self) -> SensorData | None:
        """What was decoded last."""
        return self._encoder.view

    def forget(self) -> None:
        """Drop the previous plan and all frames; randomness starts from the seed again."""
        self._previous: tuple[Plan, int] | None = None
        self._encoder.clear()
        self._predictions.clear()
        self._generator.manual_seed(self._config.seed)
        self.renew()

    def reconfigure(self, config: ControllerConfig) -> None:
        """See `Controller`."""
        self._config = config
        self._horizon.reconfigure(config)

    def renew(self) -> None:
        """Give the full horizon back and start judging progress anew."""
        self._horizon.renew()

    def look(
        self, frames: tuple[StampedObservation, ...], goal: tuple[int, Picture] | None
    ) -> EncodedObservation:
        """Encode the newest frame with its context, and the goal when it is new.

        Args:
            frames: in the order of their stamps, at least one.
            goal: its number and picture, or None.

        Raises:
            Exception: whatever decoding or the model raises.
        """
        if goal is not None and (self._goal is None or self._goal[0] != goal[0]):
            self._goal = (goal[0], self._encode(goal_view(goal[1], self._cameras))[None])
        context, stamps = self._encoder.context(frames)
        if goal is None or self._goal is None:
            return EncodedObservation(context, stamps, None, None)
        latent = self._goal[1]
        with torch.no_grad():
            distance = float(self._planner.distance(context[:, -1], latent))
        return EncodedObservation(context, stamps, latent, distance)

    def seen(self, outlook: EncodedObservation, now_ns: int, history: CommandHistory) -> Seen:
        """The newest picture of an outlook, and the motion that must be visible in it."""
        view, frames = self._encoder.view, self._model.history
        assert view is not None
        pixels = self._encode.pixels(view)
        latent = outlook.context[:, -1]

        def expected_change() -> float:
            start_ns = outlook.stamps_ns[-1] - frames * self._step_ns
            actions = self._normalised(
                self._commands_between(
                    start_ns, frames * self._space.frame_skip, now_ns, history, ()
                )
            )
            with torch.no_grad():
                following = self._model.predict(outlook.context, actions)
            return float(visual(self._model, following - latent).square().mean())

        return Seen(outlook.stamps_ns[-1], view.pictures, pixels, latent[0], expected_change)

    def prediction_error(
        self, outlook: EncodedObservation, now_ns: int, history: CommandHistory
    ) -> float:
        """Of what was imagined for the newest picture, in model steps of motion; NaN if unknown."""
        if self._config.dry_run:  # what moves the robot is unknown
            return float('nan')

        def roll(former: Sight, steps: int) -> Tensor:
            assert isinstance(former, EncodedObservation)
            ahead = self._roll_forward(former, steps, now_ns, history, ())[0][:, -1]
            return visual(self._model, ahead)

        try:
            return self._predictions.update(outlook, roll)
        except Exception:  # a model that cannot predict is reported when it is to plan
            return float('nan')

    def prepare(self) -> list[float]:
        """Prepare the planner, on a GPU for every horizon; solve until the time is steady.

        Returns:
            The solve times in seconds; they belong to no statistics.
        """
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
        self._planner.prepare(problem)
        plan: Plan | None = None
        times: list[float] = []
        while len(times) < MAX_WARM_UPS:
            plan = self._planner.plan(problem, plan, generator=self._generator)
            times.append(plan.solve_time_s)
            if len(times) > 2 and abs(times[-1] - times[-2]) < STEADY * times[-2]:
                break
        self.forget()
        return times

    def solve(
        self,
        outlook: EncodedObservation,
        now_ns: int,
        delay_s: float,
        history: CommandHistory,
        executing: tuple[TimedPlan, ...],
    ) -> tuple[Plan, TimedPlan]:
        """Plan from the outlook, rolled forward through the commands in force meanwhile.

        Args:
            outlook: with a goal.
            now_ns: when planning starts.
            delay_s: from then to the first action of the plan, seconds.
            history: commands published.
            executing: plans to be executed until the new one is due, newest first.

        Raises:
            BadPlanError: if the plan is not finite or its defect is above the bound.
            Exception: whatever planner or model raises.
        """
        assert outlook.goal is not None
        assert outlook.distance is not None
        newest = outlook.stamps_ns[-1]
        ready_ns = now_ns + round(delay_s * 1e9)
        steps = max(0, -(-(ready_ns - newest) // self._step_ns))
        context, past, before = self._roll_forward(outlook, steps, now_ns, history, executing)
        start_ns = newest + steps * self._step_ns
        horizon = self._horizon.next(start_ns, outlook.distance)
        problem = self._problem(context, past, outlook.goal, horizon)
        plan = self._planner.plan(
            problem,
            self._warm_start(start_ns, horizon),
            generator=self._generator,
            deadline_s=self._config.deadline,
        )
        self._check(plan)
        commands = self._space.denormalise(to_numpy(plan.actions[0])).reshape(-1, self._space.size)
        if not self._limits.only_box:
            commands = project(commands, before, self.period_s, self._limits)
            plan = self._imagine(plan, commands, problem)
            self._check(plan)
        self._previous = (plan, start_ns)
        return plan, TimedPlan(
            commands=commands,
            start_ns=start_ns,
            period_ns=self._period_ns,
            observation_stamp_ns=newest,
        )

    def _problem(self, context: Tensor, past: Tensor, goal: Tensor, horizon: int) -> PlanProblem:
        return PlanProblem(
            context=context,
            past_actions=past,
            goal=goal,
            action_low=self._low,
            action_high=self._high,
            stop_action=self._stop_action(),
            horizon=horizon,
            frame_skip=self._space.frame_skip,
        )

    def _stop_action(self) -> Tensor:
        """Normalised; a position command 'stops' at the middle of its range as padding only."""
        if self._space.kind is ActionKind.POSITION:
            return (self._low + self._high) / 2
        zero = np.zeros((self._space.frame_skip, self._space.size))
        return to_tensor(self._space.normalise(zero), self._low)

    def _imagine(
        self, plan: Plan, commands: NDArray[np.float64], problem: PlanProblem
    ) -> Plan:
        """The plan with the commands (N, R) that will be executed in place of its own."""
        actions = self._normalised(commands)
        with torch.no_grad():
            imagined = rollout(self._model, problem.context, problem.past_actions, actions)
            cost = self._planner.distance(imagined[:, -1], problem.goal)
        return replace(plan, actions=actions, rollout=imagined, terminal_cost=cost)

    def _normalised(self, commands: NDArray[np.float64]) -> Tensor:
        """Actions (1, T, A) of commands (T * frame_skip, R)."""
        skip, size = self._space.frame_skip, self._space.size
        shaped = commands.reshape(len(commands) // skip, skip, size)
        return to_tensor(self._space.normalise(shaped), self._low)[None]

    def _commands_between(
        self,
        start_ns: int,
        count: int,
        now_ns: int,
        history: CommandHistory,
        executing: tuple[TimedPlan, ...],
    ) -> NDArray[np.float64]:
        """Commands (count, R) in force from `start_ns` on, the coming ones within the limits.

        The first two must have been published, or the robot stood then.
        """
        last = history.last
        holds = self._space.kind is ActionKind.POSITION and last is not None
        commands = commands_between(
            start_ns,
            count,
            self._period_ns,
            now_ns,
            history,
            executing,
            last if holds and last is not None else np.zeros(self._space.size),
        )
        if self._limits.only_box or last is None:
            return commands
        published_ns = published_until(now_ns, history, self._period_ns)
        known = (published_ns - start_ns - self._period_ns // 2 - 1) // self._period_ns + 1
        known = min(max(known, 2), count)
        before = self._setpoint(commands[:known])
        coming = project(commands[known:], before, self.period_s, self._limits)
        return np.concatenate([commands[:known], coming])

    def _setpoint(self, commands: NDArray[np.float64]) -> Setpoint:
        """The last of two or more commands (N, R), each held for a period."""
        rate = (commands[-1] - commands[-2]) / self.period_s
        return Setpoint(commands[-1], np.where(np.isfinite(self._limits.acceleration), rate, 0.0))

    def _roll_forward(
        self,
        outlook: EncodedObservation,
        steps: int,
        now_ns: int,
        history: CommandHistory,
        executing: tuple[TimedPlan, ...],
    ) -> tuple[Tensor, Tensor, Setpoint | None]:
        """Context, past actions and command in force `steps` model steps after the newest frame."""
        frames, newest = self._model.history, outlook.stamps_ns[-1]
        count = (frames - 1 + steps) * self._space.frame_skip
        # Two commands more than the model needs: they tell how fast commands change.
        start_ns = newest - (frames - 1) * self._step_ns - 2 * self._period_ns
        commands = self._commands_between(
            start_ns, count + 2, now_ns, history, executing
        )
        actions = self._normalised(commands[2:])
        context = outlook.context
        if steps:
            with torch.no_grad():
                ahead = rollout(
                    self._model, context, actions[:, : frames - 1], actions[:, frames - 1 :]
                )
            context = torch.cat([context, ahead], dim=1)[:, -frames:]
        standing = self._space.kind is not ActionKind.POSITION or history.last is not None
        return context, actions[:, steps:], self._setpoint(commands) if standing else None

    def _warm_start(self, start_ns: int, horizon: int) -> Plan | None:
        if self._previous is None:
            return None
        plan, began_ns = self._previous
        executed = max(0, round((start_ns - began_ns) / self._step_ns))
        stop = plan.actions[0, -1] if self._space.kind is ActionKind.POSITION else (
            self._stop_action()
        )
        return resize(shift(plan, executed, stop), horizon, stop)

    def _check(self, plan: Plan) -> None:
        for name in ('actions', 'states', 'terminal_cost', 'defect'):
            if not torch.isfinite(getattr(plan, name)).all():
                raise BadPlanError(f'the plan holds non-finite {name}: the world model gives NaN')
        defect = float(plan.defect[0])
        if defect > self._config.max_defect:
            raise BadPlanError(
                f'defect {defect:.3g} of the plan is above max_plan_defect '
                f'{self._config.max_defect:.3g}: it does not follow the model'
            )
