"""A planner that passes everything on to another one, to build upon."""

from __future__ import annotations

import torch

from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan, PlanProblem
from grasp_ros.planning.protocol import Planner


class PassingOn:
    """Plans what another planner plans.

    Attributes:
        distance: of the planner.
    """

    def __init__(self, planner: Planner) -> None:
        """Pass everything on to `planner`."""
        self._planner = planner
        self.distance: GoalDistance = planner.distance

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
