"""GRASP with a free final time, pruned candidates, and as many iterations as help.

None of the three reached more goals than the shipped planner (benchmark_results/maze_ablations.md);
they are kept to make those tables again.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.base import Deadline
from grasp_ros.planning.candidates import Candidates, concatenate
from grasp_ros.planning.cuda_graphs import Executor
from grasp_ros.planning.grasp import GraspConfig, GraspPlanner, Observer
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.options import option
from grasp_ros.planning.problem import PlanProblem
from grasp_ros.planning.sampling import roll_out


@dataclass(frozen=True)
class GraspAblationConfig(GraspConfig):
    """Hyper-parameters of GRASP, and those of what was tried."""

    patience: int = option(
        0, 'end the solve after so many syncs in a row that gained too little; 0 for never', 0, 1000
    )
    least_gain: float = option(
        0.01, 'share by which a sync must lower the best cost of some problem', 0, 1
    )
    keep: float = option(1.0, 'share of the candidates that goes on after each sync', 0, 1)
    free_final_time: bool = option(
        False, 'stop where distance plus charged time is least along the plan'
    )
    time_charge: float = option(
        0.1, 'what a model step costs then, in units of the goal distance', 0, 1e6
    )


class GraspAblation(GraspPlanner):
    """GRASP in phases, each a solve of its own up to a sync, and with plans that may end early."""

    config: GraspAblationConfig

    def __init__(
        self,
        model: WorldModel,
        config: GraspAblationConfig,
        observer: Observer | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Plan with `model`, as GraspPlanner; the observer sees every phase begin anew.

        Raises:
            ValueError: if GraspPlanner raises it, or there are no syncs to count.
        """
        if config.sync_every == 0 and (config.patience or config.keep < 1.0):
            raise ValueError('patience and keep count syncs: set sync_every, to 6 for example')
        super().__init__(model, config, observer, executor)

    def _optimise(
        self,
        problem: PlanProblem,
        guesses: Candidates,
        generator: torch.Generator,
        deadline: Deadline,
    ) -> tuple[Candidates, int]:
        config = self.config
        if config.patience == 0 and config.keep == 1.0:
            return super()._optimise(problem, guesses, generator, deadline)
        lowest = guesses.best(1).cost[:, 0].nan_to_num(nan=float('inf'))
        found, best = guesses, None
        count, done, idle = config.candidates, 0, 0
        while done < config.iterations and not deadline.passed():
            phase = self._phase(count, min(config.sync_every, config.iterations - done))
            found, made = phase._optimise(problem, found, generator, deadline)
            done += made
            now = found.best(1)
            gained = now.cost[:, 0] < lowest - config.least_gain * lowest.abs()
            lowest = torch.fmin(lowest, now.cost[:, 0])
            best = now if best is None else concatenate(best, now).best(1)
            idle = 0 if bool(gained.any()) else idle + 1
            if 0 < config.patience <= idle:
                break
            count = max(1, math.ceil(count * config.keep))
        return found if best is None else concatenate(found, best), done

    def _phase(self, candidates: int, iterations: int) -> GraspAblation:
        """This planner for one phase, on the same buffers and captured graphs."""
        phase = copy(self)
        phase.config = replace(
            self.config, candidates=candidates, iterations=iterations, patience=0, keep=1.0
        )
        return phase

    def _choose(self, problem: PlanProblem, candidates: Candidates) -> Candidates:
        if not self.config.free_final_time:
            return super()._choose(problem, candidates)
        return end_early(
            self.distance,
            problem,
            candidates,
            self.config.time_charge,
            self.config.path_weight,
        )


@torch.no_grad()
def end_early(
    distance: GoalDistance,
    problem: PlanProblem,
    candidates: Candidates,
    charge: float,
    path_weight: float,
) -> Candidates:
    """The candidate and final time of each problem with the least distance plus charged time.

    t* = argmin_t d(s_t, g) + charge * t over t = 0 .. T; the actions from t* on are the stop
    action. A horizon that is longer than needed then neither makes the robot linger nor overshoot.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems.
        candidates: (B, C), with their serial rollouts.
        charge: of each model step, in units of the distance.
        path_weight: as in `rollout_cost`.

    Returns:
        One candidate for each problem (B, 1), rolled out anew; its states are that rollout.
    """
    goal = problem.goal[:, None]
    start = distance(problem.context[:, -1:], goal)
    along = distance(candidates.rollout, goal[:, None])
    along = torch.cat([start[:, None].expand_as(along[..., :1]), along], dim=-1)
    steps = torch.arange(along.shape[-1], dtype=along.dtype, device=along.device)
    charged = torch.nan_to_num(along + charge * steps, nan=float('inf'))
    least, final = charged.min(dim=-1)
    chosen = least.argmin(dim=1, keepdim=True)
    actions = _stopped(
        candidates.take(chosen).actions, final.gather(1, chosen), problem.stop_action
    )
    return roll_out(distance, problem, actions, path_weight)


def _stopped(actions: Tensor, final: Tensor, stop: Tensor) -> Tensor:
    """Actions (B, C, T, A) with the stop action from the time `final` (B, C) on."""
    steps = torch.arange(actions.shape[2], device=actions.device)
    return torch.where((steps < final[..., None])[..., None], actions, stop)
