"""One-step greed on the goal distance, without a planner: the honest baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.candidates import score, to_plan
from grasp_ros.planning.initial_guess import action_choices, guess_rollouts
from grasp_ros.planning.objective import GoalDistance, goal_distance
from grasp_ros.planning.options import DistanceOptions, option
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Execution


@dataclass(frozen=True)
class GreedyConfig(DistanceOptions):
    """Settings of the greedy policy."""

    choices: int = option(128, 'actions to choose among at each step', 1, 100000)


class GreedyPlanner:
    """Takes at each step the action whose prediction is nearest to the goal."""

    execution = Execution()

    def __init__(self, model: WorldModel, config: GreedyConfig) -> None:
        """Raise ValueError if the goal distance needs a head that the model has not."""
        self.config = config
        self.distance: GoalDistance = goal_distance(model, config.goal_distance)
        self._choices: Tensor | None = None

    def prepare(self, problem: PlanProblem) -> None:
        """Distribute the choices over the action bounds."""
        self._choices = action_choices(problem, self.config.choices)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """Roll the greedy policy out; deterministic, and without a deadline."""
        began = time.perf_counter()
        if self._choices is None:
            self.prepare(problem)
        actions, states = guess_rollouts(self.distance, problem, self._choices)
        found = score(self.distance, problem, actions, states, states, path_weight=0.0)
        return to_plan(self.distance, problem, found, 0, time.perf_counter() - began)
