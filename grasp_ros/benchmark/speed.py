"""Speed of one lifted iteration: batched over time, and as a loop over time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from grasp_ros.benchmark.per_step_loop import loop_iteration
from grasp_ros.core.objective import GoalDistance, lifted_gradients
from grasp_ros.core.types import PlanProblem
from grasp_ros.core.world_model import WorldModel

BATCHED_REPEATS = 41
LOOP_REPEATS = 9
RATE = 0.05


@dataclass(frozen=True)
class SpeedRow:
    """Times of one iteration, medians in ms.

    Attributes:
        model: its name.
        device: as 'cpu'.
        goal_distance: 'latent' or 'time_to_reach'.
        horizon: T.
        candidates: solved side by side.
        threads: CPU threads of PyTorch.
        iteration_ms: all T steps in one prediction.
        per_step_loop_ms: one prediction for each step.
        ratio: of the two.
    """

    model: str
    device: str
    goal_distance: str
    horizon: int
    candidates: int
    threads: int
    iteration_ms: float
    per_step_loop_ms: float
    ratio: float


def random_problem(model: WorldModel, candidates: int, horizon: int, seed: int) -> PlanProblem:
    """A problem with random latents: speed does not depend on what they are."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
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


def measure_iteration(
    name: str,
    distance: GoalDistance,
    horizon: int,
    candidates: int,
    goal_weight: float = 1.0,
    seed: int = 0,
) -> SpeedRow:
    """Time both iterations on the same problem, in turn, after a warm-up."""
    model = distance.model
    problem = random_problem(model, candidates, horizon, seed)
    shape = (candidates, horizon)
    states = problem.goal[:, None].expand(*shape, *model.latent_shape).clone()
    actions = problem.action_low.new_zeros(*shape, model.action_dim)
    batched_variables = (states.clone(), actions.clone())
    batched_optimiser = torch.optim.Adam(batched_variables, lr=RATE, fused=True)
    loop_variables = (states.clone().requires_grad_(), actions.clone().requires_grad_())
    loop_optimiser = torch.optim.Adam(loop_variables, lr=RATE, fused=True)

    def batched() -> None:
        found = lifted_gradients(distance, problem, *batched_variables, goal_weight=goal_weight)
        batched_variables[0].grad = found.states.contiguous()
        batched_variables[1].grad = found.actions.contiguous()
        batched_optimiser.step()

    def loop() -> None:
        loop_iteration(distance, problem, *loop_variables, loop_optimiser, goal_weight)

    iteration_ms = median_ms(batched, BATCHED_REPEATS, model.device)
    loop_ms = median_ms(loop, LOOP_REPEATS, model.device)
    return SpeedRow(
        model=name,
        device=str(model.device),
        goal_distance=distance.kind,
        horizon=horizon,
        candidates=candidates,
        threads=torch.get_num_threads(),
        iteration_ms=round(iteration_ms, 4),
        per_step_loop_ms=round(loop_ms, 4),
        ratio=round(loop_ms / iteration_ms, 2),
    )


def median_ms(run: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Median wall-clock time of `run` in ms, after two runs that do not count."""
    times = []
    for number in range(repeats + 2):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        if number >= 2:
            times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
