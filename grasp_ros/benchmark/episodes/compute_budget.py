"""Planners given more effort: several times the iterations, rounds or tries of their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from grasp_ros.benchmark.run.variants import Variant, resolved
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Execution, Planner

SIGN = ' x'
SPENT_ON: Mapping[str, str] = {
    'grasp': 'iterations',
    'gradient': 'iterations',
    'latco': 'iterations',
    'cem': 'rounds',
    'icem': 'rounds',
    'mppi': 'rounds',
    'random_shooting': 'proposals',
    'greedy': 'choices',
}
"""Which option of each planner buys more search."""


def name_with(name: str, effort: int) -> str:
    """What a planner is called in the tables with so many times the effort."""
    return name if effort == 1 else f'{name}{SIGN}{effort}'


def base_name(name: str) -> str:
    """The planner's name without its effort."""
    base, sign, effort = name.rpartition(SIGN)
    return base if sign and effort.isdecimal() else name


def with_effort(variant: Variant, effort: int) -> Variant:
    """A planner that searches `effort` times as much."""
    if effort == 1:
        return variant
    option = SPENT_ON[variant.planner]
    config = resolved(variant.planner, variant.options)
    more = {option: effort * getattr(config, option)}
    return replace(variant, options={**variant.options, **more})


class PlannerWrapper:
    """Plans what another planner plans.

    Attributes:
        distance: of the planner.
    """

    def __init__(self, planner: Planner) -> None:
        """Pass everything on to `planner`."""
        self._planner = planner
        self.distance: GoalDistance = planner.distance

    @property
    def execution(self) -> Execution:
        """See Planner."""
        return self._planner.execution

    def prepare(self, problem: PlanProblem) -> None:
        """See Planner."""
        self._planner.prepare(problem)

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """See Planner."""
        return self._planner.plan(problem, init, generator=generator, deadline_s=deadline_s)


class CountingPlanner(PlannerWrapper):
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
