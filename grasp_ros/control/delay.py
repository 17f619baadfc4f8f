"""Latency compensation: estimated planning delay, and latents rolled forward over it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.limits import Limits, Setpoint, project
from grasp_ros.control.observation import LatentContext
from grasp_ros.control.timed_plan import (
    CommandHistory,
    TimedPlan,
    commands_between,
    published_until,
)
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.protocol import LoadedModel, rollout, visual
from grasp_ros.planning.problem import to_tensor

WINDOW = 50
QUANTILE = 0.9
WARM_UP = 1
MIN_PERIODS = 0.1


def delay_bounds(config: ControllerConfig, period_s: float) -> tuple[float, float, float]:
    """Bounds of the planning delay by a config: first value, lowest and highest estimate, seconds.

    Planning that takes longer than half the life of a plan leaves gaps whatever is assumed.
    """
    most = config.max_plan_age / 2
    return config.planning_delay, min(MIN_PERIODS * period_s, most), most


class DelayEstimator:
    """Estimator of the planning delay: a high quantile of the delays measured last.

    A plan that is ready too late has lost its first commands, one that is ready too early only
    waits: so the quantile is high, but below the few solves that the operating system held up.
    """

    def __init__(self, initial_s: float, lowest_s: float, highest_s: float) -> None:
        """Begin with nothing measured; see `configure`."""
        self.configure(initial_s, lowest_s, highest_s)
        self.reset()

    def configure(self, initial_s: float, lowest_s: float, highest_s: float) -> None:
        """Change the bounds; what was measured stays.

        Args:
            initial_s: the value before anything was measured, seconds.
            lowest_s: no estimate is below, seconds.
            highest_s: no estimate is above, seconds.

        Raises:
            ValueError: unless 0 <= lowest_s <= highest_s.
        """
        if not 0 <= lowest_s <= highest_s:
            raise ValueError(f'bounds of a delay are {lowest_s} and {highest_s} s')
        self._initial_s = initial_s
        self._bounds = (lowest_s, highest_s)

    @property
    def value_s(self) -> float:
        """Estimated planning delay, seconds."""
        if self._measured_s is None:
            return self._initial_s
        low, high = self._bounds
        return min(max(self._measured_s, low), high)

    def reset(self) -> None:
        """Forget what was measured."""
        self._delays: deque[float] = deque(maxlen=WINDOW)
        self._left_out = 0
        self._measured_s: float | None = None

    def add(self, delay_s: float) -> None:
        """Take a measured delay in seconds, from the start of planning to a plan ready for use.

        The first one belongs to the warm-up. Negative and non-finite ones mean that the clock
        jumped; they are ignored.
        """
        if not (math.isfinite(delay_s) and delay_s >= 0):
            return
        if self._left_out < WARM_UP:
            self._left_out += 1
            return
        self._delays.append(delay_s)
        ordered = sorted(self._delays)
        rank = math.ceil(QUANTILE * len(ordered))
        self._measured_s = ordered[rank - 1]


@dataclass(frozen=True, eq=False)
class RolledForward:
    """Start of a plan: latents predicted for the time when its first action is due.

    Attributes:
        latents: (1, H, *Z), newest last; predicted as far as they lie in the future.
        past_actions: normalised (1, H - 1, A), taken between them.
        setpoint: command in force before the plan; None where that is unknown.
    """

    latents: Tensor
    past_actions: Tensor
    setpoint: Setpoint | None


class RollForward:
    """Rolls latents forward along the commands published and those to be executed meanwhile."""

    def __init__(
        self, loaded: LoadedModel, limits: Limits, step_ns: int, published: CommandHistory
    ) -> None:
        """Predict with the model of `loaded`.

        Args:
            loaded: the world model and the commands' meaning.
            limits: of the commands.
            step_ns: of the model.
            published: commands; written by another thread.
        """
        model, self._limits = loaded.model, limits
        self._model, self._space = model, loaded.action_space
        self._published = published
        self._step_ns = step_ns
        self._period_ns = step_ns // self._space.frame_skip
        self._like = torch.zeros((), dtype=model.dtype, device=model.device)

    def __call__(
        self,
        context: LatentContext,
        steps: int,
        now_ns: int,
        executing: tuple[TimedPlan, ...] = (),
    ) -> RolledForward:
        """Roll forward to `steps` model steps after the newest frame.

        Args:
            context: latents of the newest frames.
            steps: 0 or more.
            now_ns: present time of the stamps' clock.
            executing: plans that commands are taken from meanwhile, newest first.

        Raises:
            Exception: whatever the model raises.
        """
        frames, newest = self._model.history, context.newest_ns
        count = (frames - 1 + steps) * self._space.frame_skip
        # Two commands more than the model needs: they tell how fast commands change.
        start_ns = newest - (frames - 1) * self._step_ns - 2 * self._period_ns
        commands = self._commands(start_ns, count + 2, now_ns, executing)
        actions = self.normalise(commands[2:])
        latents = context.latents
        if steps:
            with torch.no_grad():
                ahead = rollout(
                    self._model, latents, actions[:, : frames - 1], actions[:, frames - 1 :]
                )
            latents = torch.cat([latents, ahead], dim=1)[:, -frames:]
        known = self._space.kind is not ActionKind.POSITION or self._published.last is not None
        setpoint = self._setpoint(commands) if known else None
        return RolledForward(latents, actions[:, steps:], setpoint)

    def expected_change(self, context: LatentContext, now_ns: int) -> float:
        """Mean squared change of the latent predicted for one step of the commands before it.

        Raises:
            Exception: whatever the model raises.
        """
        frames = self._model.history
        start_ns = context.newest_ns - frames * self._step_ns
        commands = self._commands(start_ns, frames * self._space.frame_skip, now_ns, ())
        with torch.no_grad():
            following = self._model.predict(context.latents, self.normalise(commands))
        return float(visual(self._model, following - context.newest).square().mean())

    def normalise(self, commands: NDArray[np.float64]) -> Tensor:
        """Actions (1, T, A) of commands (T * frame_skip, R) in physical units."""
        skip, size = self._space.frame_skip, self._space.size
        shaped = commands.reshape(len(commands) // skip, skip, size)
        return to_tensor(self._space.normalise(shaped), self._like)[None]

    def _commands(
        self, start_ns: int, count: int, now_ns: int, executing: tuple[TimedPlan, ...]
    ) -> NDArray[np.float64]:
        """Commands (count, R) in force from `start_ns` on, the coming ones within the limits.

        The first two must have been published, or the robot stood then.
        """
        last = self._published.last
        holds = self._space.kind is ActionKind.POSITION and last is not None
        commands = commands_between(
            start_ns,
            count,
            self._period_ns,
            now_ns,
            self._published,
            executing,
            last if holds and last is not None else np.zeros(self._space.size),
        )
        if self._limits.only_box or last is None:
            return commands
        # Those whose middle lies before this were published; the limits were applied to them.
        published_ns = published_until(now_ns, self._published, self._period_ns)
        known = (published_ns - start_ns - self._period_ns // 2 - 1) // self._period_ns + 1
        known = min(max(known, 2), count)
        before = self._setpoint(commands[:known])
        coming = project(commands[known:], before, self._period_ns / 1e9, self._limits)
        return np.concatenate([commands[:known], coming])

    def _setpoint(self, commands: NDArray[np.float64]) -> Setpoint:
        """The last of two or more commands (N, R), each held for a period."""
        rate = (commands[-1] - commands[-2]) / (self._period_ns / 1e9)
        return Setpoint(commands[-1], np.where(np.isfinite(self._limits.acceleration), rate, 0.0))
