"""Starting points of a solve, the same for every planner: what is compared is the optimiser."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grasp_ros.planning.candidates import Candidates, join, judge
from grasp_ros.planning.cuda_graphs import Executor, problem_of, tensors_of
from grasp_ros.planning.initial_guess import cold_start
from grasp_ros.planning.objective import GoalDistance, completed
from grasp_ros.planning.options import DistanceOptions, option
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.proposals import correlated_actions, seed_rollouts


@dataclass(frozen=True)
class SeedOptions(DistanceOptions):
    """Where a solve starts, and by what rollouts are judged."""

    path_weight: float = option(
        1.0, 'weight of the mean goal distance when rollouts are judged', 0, 1e6
    )
    seed_warm_start: bool = option(True, 'start a candidate from the shifted previous plan')
    seed_greedy: bool = option(False, 'start a candidate from the greedy rollout')
    greedy_choices: int = option(16, 'actions that the greedy rollout chooses among', 1, 100000)
    proposals: int = option(
        0, 'correlated random rollouts that seed candidates; 0 for none', 0, 100000
    )


def make_seeds(
    distance: GoalDistance,
    problem: PlanProblem,
    init: Plan | None,
    options: SeedOptions,
    choices: Tensor | None,
    generator: torch.Generator,
    executor: Executor | None = None,
) -> Candidates:
    """Starting points (B, C), judged by their serial rollouts.

    The states of a warm start are those of the previous plan; those of a start without any seed
    lie on the line to the goal; all others are rollouts.

    Args:
        distance: goal distance; its model predicts.
        problem: B problems.
        init: the previous plan, shifted to now, or None.
        options: which seeds.
        choices: (M, A) actions of the greedy rollout; not used without `seed_greedy`.
        generator: of the proposals.
        executor: runs the rollouts; None runs them eagerly.
    """
    given: list[Tensor] = []
    lifted: list[Tensor] = []
    if init is not None and options.seed_warm_start:
        given.append(init.actions[:, None])
        lifted.append(init.states[:, None])
    elif not (options.seed_greedy or options.proposals):
        goal = completed(distance.model, problem.goal, problem.context[:, -1])
        states, actions = cold_start(replace(problem, goal=goal))
        given.append(actions[:, None])
        lifted.append(states[:, None])
    if options.proposals:
        given.append(correlated_actions(problem, options.proposals, generator))
    if not options.seed_greedy:
        choices = None
    stacked = torch.cat(given, dim=1) if given else None

    def roll(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        own = problem_of(tensors[: len(inputs)], problem.horizon)
        rest = list(tensors[len(inputs) :])
        picked = None if choices is None else rest.pop(0)
        return seed_rollouts(distance, own, picked, rest.pop(0) if rest else None)

    inputs = tensors_of(problem)
    more = [tensor for tensor in (choices, stacked) if tensor is not None]
    key = ('seeds', choices is not None, problem.horizon)
    actions, rolled = (executor or Executor())(key, roll, *inputs, *more)
    states = rolled
    if lifted:
        at = 0 if choices is None else 1
        states = torch.cat([rolled[:, :at], *lifted, rolled[:, at + 1 :]], dim=1)
    return judge(distance, problem, actions, states, rolled, options.path_weight)


def fill(seeds: Candidates, count: int) -> Candidates:
    """The best `count` seeds of each problem, repeated in turn where there are fewer."""
    keep = seeds.best(count)
    missing = count - keep.cost.shape[1]
    if missing <= 0:
        return keep
    again = torch.arange(missing, device=keep.cost.device) % keep.cost.shape[1]
    return join(keep, keep.take(again.expand(keep.cost.shape[0], -1)))
