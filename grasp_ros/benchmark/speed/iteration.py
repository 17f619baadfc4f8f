"""Speed of one lifted iteration: batched over time, and as a loop over time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grasp_ros.benchmark.speed.references import (
    counted_bytes,
    counted_flops,
    floor_ms,
    loop_iteration,
    loop_loss,
    peak,
)
from grasp_ros.models.compact.model import CompactModel
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.cuda_graphs import CudaGraphs, Executor, wait_for
from grasp_ros.planning.lifted import LiftedIteration, LiftedSettings, Precision
from grasp_ros.planning.objective import GoalDistance, lifted_gradients
from grasp_ros.planning.problem import PlanProblem

RATE = 0.05
NOISE = 0.02
BATCHED_PER_LOOP = 3
MIN_ROUNDS, MAX_ROUNDS = 3, 61
SECONDS = 1.5


@dataclass(frozen=True)
class SpeedRow:
    """Times of one iteration: losses, gradients, Adam on states and actions.

    Attributes:
        model: its name.
        device: as 'cpu'.
        goal_distance: 'latent' or 'time_to_reach'.
        horizon: T.
        candidates: solved side by side.
        threads: CPU threads of PyTorch.
        precision: of the model, as 'float32'; with autocast what it casts to.
        execution: 'eager', 'compiled' or 'cuda graph', of both iterations.
        iteration_ms: median, all T steps in one prediction.
        per_step_loop_ms: median, one prediction for each step.
        ratio: of the two.
        iteration_quartiles_ms: first and third.
        per_step_loop_quartiles_ms: first and third.
        rounds: of one loop and three batched iterations, or one if they are slow.
        loss_difference: largest relative difference of the losses that both compute.
        flops: of the batched iteration.
        bytes: that have to move, at least.
        floor_ms: what `flops` and `bytes` take at the measured peak of the device.
    """

    model: str
    device: str
    goal_distance: str
    horizon: int
    candidates: int
    threads: int
    precision: str
    execution: str
    iteration_ms: float
    per_step_loop_ms: float
    ratio: float
    iteration_quartiles_ms: tuple[float, float]
    per_step_loop_quartiles_ms: tuple[float, float]
    rounds: int
    loss_difference: float
    flops: int
    bytes: int
    floor_ms: float


def random_problem(model: WorldModel, candidates: int, horizon: int, seed: int) -> PlanProblem:
    """A problem with random latents: speed does not depend on what they are."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        return drawn.to(model.device, model.dtype)

    bound = torch.ones(model.action_dim, device=model.device, dtype=model.dtype)
    return PlanProblem(
        context=normal(candidates, model.history, *model.latent_shape),
        past_actions=normal(candidates, model.history - 1, model.action_dim),
        goal=normal(candidates, *model.latent_shape),
        action_low=-bound,
        action_high=bound,
        stop_action=0 * bound,
        horizon=horizon,
    )


class Contest:
    """Both iterations on the same problem."""

    def __init__(
        self,
        distance: GoalDistance,
        horizon: int,
        candidates: int,
        goal_weight: float,
        precision: Precision,
        seed: int,
    ) -> None:
        """Start both from the same states and actions."""
        model = distance.model
        self._goal_weight = goal_weight
        self._distance = distance
        self._precision = precision
        self.problem = random_problem(model, candidates, horizon, seed)
        shape = (candidates, horizon)
        self.states = self.problem.goal[:, None].expand(*shape, *model.latent_shape).clone()
        self.actions = self.problem.action_low.new_zeros(*shape, model.action_dim)
        self._settings = LiftedSettings(RATE, RATE, precision=precision)
        self._generator = torch.Generator(model.device).manual_seed(seed)
        self._variables = (
            self.states.clone().requires_grad_(),
            self.actions.clone().requires_grad_(),
        )
        self._optimiser = torch.optim.Adam(
            self._variables, lr=RATE, fused=True, capturable=model.device.type == 'cuda'
        )

    def batched(self, executor: Executor | None = None) -> Callable[[], None]:
        """One batched iteration; recorded if there is an executor."""
        lifted = LiftedIteration(
            self._distance, self.problem, self._settings, self.states, self.actions, executor
        )

        def run() -> None:
            lifted.iterate(self._goal_weight, 0.0, self._generator)

        if executor is not None:
            with executor.recording():
                run()
        return run

    def loop(self, distance: GoalDistance | None = None) -> None:
        """One iteration of the loop; with a `distance` whose model is another form of the same."""
        with self._autocast():
            loop_iteration(
                distance or self._distance,
                self.problem,
                *self._variables,
                self._optimiser,
                self._goal_weight,
            )

    def loss_difference(self) -> float:
        """Largest relative difference of the losses at the start."""
        with self._autocast():
            batched = lifted_gradients(
                self._distance, self.problem, self.states, self.actions,
                goal_weight=self._goal_weight,
            ).loss  # fmt: skip
            with torch.no_grad():
                loop = loop_loss(
                    self._distance, self.problem, self.states, self.actions, self._goal_weight
                )
        return float(((batched - loop).abs() / loop.abs()).max())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.states.device.type,
            torch.bfloat16,
            enabled=self._precision == 'bfloat16',
            cache_enabled=False,
        )


def measure_iteration(
    name: str,
    distance: GoalDistance,
    horizon: int,
    candidates: int,
    goal_weight: float = 1.0,
    seed: int = 0,
    *,
    precision: Precision = 'float32',
    execution: str = 'eager',
    seconds: float = SECONDS,
) -> SpeedRow:
    """Time both iterations on the same problem, in turn, after a warm-up.

    Args:
        name: of the model, for the row.
        distance: goal distance; its model predicts.
        horizon: T.
        candidates: solved side by side.
        goal_weight: gamma.
        seed: of the problem.
        precision: 'bfloat16' runs predictions under autocast, in both.
        execution: 'eager'; 'compiled' compiles gradients, or the loop's predictions; 'cuda
            graph' captures whole iterations.
        seconds: to spend on it, about; three rounds are made at least.

    Raises:
        ValueError: if there is no such execution.
    """
    model = distance.model
    contest = Contest(distance, horizon, candidates, goal_weight, precision, seed)
    flops = counted_flops(contest.batched())
    batched: Callable[[], None]
    loop: Callable[[], None]
    if execution == 'eager':
        batched, loop = contest.batched(), contest.loop
    elif execution == 'compiled':
        batched, loop = compiled(contest, distance, goal_weight)
    elif execution == 'cuda graph':
        batched, loop = contest.batched(Executor(CudaGraphs())), captured(contest.loop)
    else:
        raise ValueError(f"execution is {execution!r}, not 'eager', 'compiled' or 'cuda graph'")
    times, loop_times = interleave(batched, loop, model.device, seconds)
    moved = counted_bytes(_used(distance), (contest.states, contest.actions))
    dtype = torch.bfloat16 if precision == 'bfloat16' else model.dtype
    return SpeedRow(
        model=name,
        device=str(model.device),
        goal_distance=distance.kind,
        horizon=horizon,
        candidates=candidates,
        threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix('torch.'),
        execution=execution,
        iteration_ms=round(statistics.median(times), 4),
        per_step_loop_ms=round(statistics.median(loop_times), 4),
        ratio=round(statistics.median(loop_times) / statistics.median(times), 2),
        iteration_quartiles_ms=quartiles(times),
        per_step_loop_quartiles_ms=quartiles(loop_times),
        rounds=len(loop_times),
        loss_difference=contest.loss_difference(),
        flops=flops,
        bytes=moved,
        floor_ms=round(floor_ms(flops, moved, peak(model.device, dtype)), 4),
    )


def interleave(
    batched: Callable[[], None], loop: Callable[[], None], device: torch.device, seconds: float
) -> tuple[list[float], list[float]]:
    """Times in ms of both in turn, after a warm-up round that does not count."""
    times: list[float] = []
    loop_times: list[float] = []
    began = time.perf_counter()
    slow = 1e-3 * timed(batched, device) > seconds / 10
    timed(loop, device)
    while len(loop_times) < MIN_ROUNDS or (
        len(loop_times) < MAX_ROUNDS and time.perf_counter() - began < seconds
    ):
        times += [timed(batched, device) for _ in range(1 if slow else BATCHED_PER_LOOP)]
        loop_times.append(timed(loop, device))
    return times, loop_times


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Wall-clock time of `run` in ms, until the device has done it."""
    wait_for(device)
    began = time.perf_counter()
    run()
    wait_for(device)
    return 1e3 * (time.perf_counter() - began)


def quartiles(times: list[float]) -> tuple[float, float]:
    """First and third quartile, rounded for a table."""
    first, _, third = statistics.quantiles(times, n=4, method='inclusive')
    return round(first, 4), round(third, 4)


def compiled(
    contest: Contest, distance: GoalDistance, goal_weight: float
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Both iterations through torch.compile: the batched gradients, and the loop's predictions.

    The loop as a whole would be compiled step by step of its horizon, for minutes.
    """

    @torch.no_grad()
    def gradients(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        found = lifted_gradients(
            distance, contest.problem, states, actions, goal_weight=goal_weight
        )
        return found.states, found.actions

    quick = torch.compile(gradients, fullgraph=True, dynamic=False)
    variables = [contest.states.clone(), contest.actions.clone()]
    optimiser = torch.optim.Adam(variables, lr=RATE, fused=True)

    def batched() -> None:
        variables[0].grad, variables[1].grad = quick(*variables)
        optimiser.step()

    model = _Compiled(distance.model)
    return batched, lambda: contest.loop(GoalDistance(model, distance.kind))


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """`run` as a CUDA graph."""

    def function() -> tuple[Tensor, ...]:
        run()
        return ()

    return CudaGraphs()(function)[0]


class _Compiled:
    """A model whose prediction and learned distance are compiled."""

    def __init__(self, model: WorldModel) -> None:
        self.latent_shape, self.action_dim = model.latent_shape, model.action_dim
        self.history, self.device, self.dtype = model.history, model.device, model.dtype
        self.encode = model.encode
        self.predict = torch.compile(model.predict, fullgraph=True, dynamic=False)
        learned = getattr(model, 'time_to_reach', None)
        if learned is not None:
            self.time_to_reach = torch.compile(learned, fullgraph=True, dynamic=False)


def _used(distance: GoalDistance) -> list[nn.Module]:
    """The parts of a compact model that an iteration uses; all of another model."""
    model = distance.model
    if isinstance(model, CompactModel):
        learned = [model.reach_embedding] if distance.kind == 'time_to_reach' else []
        return [model.predictor, *learned]
    return [model] if isinstance(model, nn.Module) else []
