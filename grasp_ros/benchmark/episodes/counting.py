"""Counting what a planner asks of its world model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grasp_ros.benchmark.episodes.passing_on import PassingOn
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Planner


class CountingPlanner(PassingOn):
    """Passes everything on to a planner and counts its solves and the predictor's calls in them.

    Attributes:
        solves: made so far; of many problems at once they count as one.
        predictor_calls: in all of them.
    """

    def __init__(self, planner: Planner, model: WorldModel) -> None:
        """Count for `planner`; counters take the place of its model's `predict` and `linearise`.

        Predictions in captured graphs are not seen: count with a planner that captures nothing.
        """
        super().__init__(planner)
        self.solves = 0
        self.predictor_calls = 0
        self._calls = 0
        # On the instance, so that whatever else the model has stays visible to the planner.
        for name in ('predict', 'linearise'):
            if hasattr(model, name):
                setattr(model, name, self._counted(getattr(model, name)))

    def _counted(self, predict: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Any]:
        def counted(latents: Tensor, actions: Tensor) -> Any:
            self._calls += 1
            return predict(latents, actions)

        return counted

    @property
    def calls_per_solve(self) -> float:
        """Predictor calls of a solve, on average."""
        return self.predictor_calls / max(1, self.solves)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """See Planner."""
        before = self._calls
        plan = super().plan(problem, init, generator=generator, deadline_s=deadline_s)
        self.solves += 1
        self.predictor_calls += self._calls - before
        return plan
