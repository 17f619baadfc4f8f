"""A controller behind the node's own intake, watched: what may leave, and what must not."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from torch import Tensor

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits
from grasp_ros.control.types import NANOSECONDS, Command, State
from grasp_ros.messages.commands import CommandLayout
from grasp_ros.messages.images import ImageError, to_model_input
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import LoadedModel, Observation
from grasp_ros.models.sensors import RgbImage
from grasp_ros.node.goals import GoalIntake
from grasp_ros.node.inputs import check_action_goal, take_image
from grasp_ros.planning.baselines.greedy import GreedyConfig, GreedyPlanner
from grasp_ros.ros.ros_messages import image_message, make_message, time_message
from grasp_ros.sim.rooms.world import TwoRooms
from system.fuzz.mutations import FuzzCase, Kind, mutate

PERIOD_S = 0.1
PERIOD_NS = round(PERIOD_S * NANOSECONDS)
TAKING_NS = PERIOD_NS // 4
LIMIT, RATE = 1.0, 4.0
ROUNDING = 1e-9
START_NS = 1_700_000_000 * NANOSECONDS
ROUND = 12
"""Mutants between two activations."""
UNUSABLE = (State.WAITING_IMAGE, State.STALE_IMAGE, State.BAD_IMAGE)


class MomentModel:
    """The quickest world model that looks at all pixels: where the light is, moved by actions."""

    device = torch.device('cpu')
    dtype = torch.float64
    history = 2
    latent_shape = (2,)
    action_dim = 2

    def encode(self, observation: Observation) -> Tensor:
        """Centre of gravity of the brightness; see `WorldModel`."""
        light = observation.images.to(self.dtype).mean(dim=-3) + 1e-3
        height, width = light.shape[-2:]
        rows = torch.linspace(-1, 1, height, dtype=self.dtype)[:, None]
        columns = torch.linspace(-1, 1, width, dtype=self.dtype)
        total = light.sum(dim=(-2, -1))
        moments = [(light * axis).sum(dim=(-2, -1)) / total for axis in (columns, rows)]
        return torch.stack(moments, dim=-1)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel`."""
        return latents[:, -1] + 0.1 * actions[:, -1]


def small_controller(rate: float = RATE) -> Controller:
    """A controller that plans in a millisecond or two; `rate` limits velocities, m/s^2."""
    model = MomentModel()
    space = ActionSpace(
        ActionKind.VELOCITY, ('x', 'y'), ('m/s', 'm/s'), np.full(2, -LIMIT), np.full(2, LIMIT),
        np.zeros(2), np.ones(2),
    )  # fmt: skip
    limits = Limits(space.low, space.high, np.full(2, rate))
    config = ControllerConfig(
        horizon=3, horizon_floor=2, model_dt=PERIOD_S, planning_delay=0.05, estimate_delay=False
    )
    planner = GreedyPlanner(model, GreedyConfig(choices=8))
    loaded = LoadedModel(model, lambda rgb: to_model_input(rgb, 16, 16), space)
    controller = Controller(loaded, planner, limits, config)
    controller.prepare()
    return controller


@dataclass
class Counts:
    """What became of the mutants.

    Attributes:
        outcomes: by the name of the change, then by outcome.
        crashes: tracebacks.
        violations: commands that should not have left, and invalid messages that were taken.
        running: commands that followed a plan; without any, nothing was proved.
        slowest_ms: longest time for one mutant, and its name.
        memory_mib: most that the process ever held.
    """

    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    running: int = 0
    slowest_ms: tuple[float, str] = (0.0, '')
    memory_mib: float = 0.0

    def add(self, name: str, outcome: str, count: int = 1) -> None:
        """Count a mutant, or some."""
        outcomes = self.outcomes.setdefault(name, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + count

    def merge(self, others: Counts) -> None:
        """Count those of another run, too."""
        for name, outcomes in others.outcomes.items():
            for outcome, count in outcomes.items():
                self.add(name, outcome, count)
        self.crashes += others.crashes
        self.violations += others.violations
        self.running += others.running
        self.slowest_ms = max(self.slowest_ms, others.slowest_ms)
        self.memory_mib = max(self.memory_mib, others.memory_mib)

    @property
    def messages(self) -> int:
        """Mutants in all."""
        return sum(sum(outcomes.values()) for outcomes in self.outcomes.values())


def _at_once(job: Callable[[], RgbImage | None]) -> Future[RgbImage | None]:
    """A planning thread for which nobody waits."""
    future: Future[RgbImage | None] = Future()
    try:
        future.set_result(job())
    except Exception as error:
        future.set_exception(error)
    return future


class FuzzTarget:
    """Takes mutants as the node takes messages, and judges each command."""

    def __init__(self, controller: Controller) -> None:
        """Watch a controller of two velocities within `LIMIT` that change by at most `RATE`."""
        self.counts = Counts()
        self._controller = controller
        self._goals = GoalIntake(controller, _at_once, lambda job, *given: job(*given))
        self._encoder = CommandLayout(
            'geometry_msgs/msg/TwistStamped', ActionKind.VELOCITY, 2, PERIOD_S,
            fields=('linear.x', 'linear.y'), frame_id='base_link', make=make_message,
        )  # fmt: skip
        self._now_ns = START_NS
        self._world = TwoRooms()
        self.activate()

    def activate(self) -> None:
        """Begin as the node does on activation."""
        self._controller.reset()
        self._goals.forget()
        self._good_stamps: set[int] = set()
        self._goal_taken = False
        self._last: NDArray[np.float64] | None = None

    def fuzz(self, count: int, rng: np.random.Generator) -> None:
        """Send `count` mutants: some among valid pictures and goals, some with none of either."""
        for index in range(count):
            if index % ROUND == 0:
                self.activate()
                valid_goal, valid_images = rng.random(2) < (0.7, 0.7)
                if valid_goal:
                    self._decode_goal(self._picture(rng))
            if valid_images and index % 3 == 0:
                self.see_valid(rng)
            kind: Kind = ('image', 'compressed', 'goal')[int(rng.integers(3))]
            rgb = self._render(rng)
            # When it will be taken: latents are kept by stamp, so that an old one would hide it.
            mutant = mutate(kind, rgb, time_message(self._now_ns + TAKING_NS), rng)
            as_goal = kind == 'goal' or rng.random() < 0.3
            self.take(mutant, as_goal)

    def see_valid(self, rng: np.random.Generator) -> None:
        """Take a valid picture, plan, and command."""
        self._now_ns += PERIOD_NS
        self._take_image(self._picture(rng), 'valid picture', invalid=False)
        self.command('valid picture')

    def take(self, mutant: FuzzCase, as_goal: bool) -> None:
        """Take a mutant, plan, command, and count what became of it."""
        self._now_ns += TAKING_NS
        began_s = time.perf_counter()
        name = mutant.name + (' as goal' if as_goal and 'goal:' not in mutant.name else '')
        try:
            outcome = self._take(mutant, as_goal, name)
            self.command(name)
        except Exception:
            outcome = 'crash'
            self.counts.crashes.append(f'{name}\n{traceback.format_exc()}')
        self.counts.add(name, outcome)
        took_ms = 1e3 * (time.perf_counter() - began_s)
        self.counts.slowest_ms = max(self.counts.slowest_ms, (took_ms, name))

    def _take(self, mutant: FuzzCase, as_goal: bool, name: str) -> str:
        message = mutant.message
        if isinstance(message, bytes):
            try:
                message = deserialize_message(message, mutant.message_type)
            except Exception:  # rclpy documents none; the executor drops such messages
                return 'refused by the middleware'
        if as_goal:
            # Goals are not judged by their stamps.
            return self._take_goal(message, mutant.invalid and 'stamp' not in name, name)
        return self._take_image(message, name, mutant.invalid)

    def _take_goal(self, message: Any, invalid: bool, name: str) -> str:
        try:
            if hasattr(message, 'goal_image'):
                check_action_goal(message)
                taken = self._decode_goal(message.goal_image, message.tolerance or None)
            else:
                taken = self._decode_goal(message)
        except (ImageError, ValueError):
            return 'refused'
        if not taken:
            return 'refused'
        self._controller.plan(self._now_ns)
        if invalid:
            self.counts.violations.append(f'{name}: an invalid goal was taken')
        return 'taken'

    def _decode_goal(self, message: Any, tolerance: float | None = None) -> bool:
        taken: list[RgbImage] = []
        self._goals.take(
            message, taken.append, lambda reason: None, tolerance=tolerance, restart=True
        )
        self._goal_taken |= bool(taken)
        return bool(taken)

    def _take_image(self, message: Any, name: str, invalid: bool) -> str:
        if take_image(self._controller, self._now_ns, self._now_ns, message) is not None:
            return 'refused'
        report = self._controller.plan(self._now_ns)
        if report.state in UNUSABLE:
            return f'stopped: {report.state.name}'
        if invalid:
            self.counts.violations.append(f'{name}: an invalid picture was taken')
        if report.encoded is not None:
            self._good_stamps.add(report.encoded.context.newest_ns)
        return 'taken'

    def command(self, name: str) -> None:
        """Take the command due now and judge it."""
        self._now_ns += TAKING_NS
        command = self._controller.command(self._now_ns, self._now_ns)
        fault = self._fault(command)
        if fault:
            self.counts.violations.append(f'after {name}: {fault}')

    def _fault(self, command: Command) -> str:
        """What is wrong with a command, by what the receiver gets."""
        running = command.state is State.RUNNING
        self.counts.running += running
        if running and command.observation_stamp_ns not in self._good_stamps:
            return f'RUNNING without a valid picture: {command}'
        if running and not self._goal_taken:
            return f'RUNNING without a valid goal: {command}'
        if command.action is None:
            return ''
        if not self._good_stamps or not self._goal_taken:
            return f'a command without a valid picture and goal: {command}'
        message = self._encoder.encode(command.action, time_message(self._now_ns))
        linear = message.twist.linear
        velocity = np.array([linear.x, linear.y])
        before = np.zeros(2) if self._last is None else self._last
        self._last = velocity
        if not np.isfinite(velocity).all():
            return f'not finite: {velocity}'
        if (np.abs(velocity) > LIMIT + ROUNDING).any():
            return f'out of the box: {velocity}'
        if (np.abs(velocity - before) > RATE * PERIOD_S + ROUNDING).any():
            return f'changes too fast: {before} to {velocity}'
        if not running and (np.abs(velocity) > np.abs(before) + ROUNDING).any():
            return f'drives on in {command.state.name}: {before} to {velocity}'
        return ''

    def _render(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        side = self._world.size * 0.05
        picture: NDArray[np.uint8] = self._world.render(rng.uniform(0.4, side - 0.4, (1, 2)))[0]
        return picture

    def _picture(self, rng: np.random.Generator) -> Any:
        return image_message(self._render(rng), time_message(self._now_ns), 'camera')
