"""What the controller needs of a planner."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan, PlanProblem

EAGER = 'eager'


@runtime_checkable
class Planner(Protocol):
    """Plans with one world model; may own buffers and captured graphs, never results.

    Attributes:
        distance: the goal distance that it minimises.
    """

    distance: GoalDistance

    def prepare(self, problem: PlanProblem) -> None:
        """Allocate, compile, capture and warm up for problems of these shapes."""
        ...

    def plan(
        self,
        problem: PlanProblem,
        init: Plan | None = None,
        *,
        generator: torch.Generator,
        deadline_s: float | None = None,
    ) -> Plan:
        """Solve B problems.

        Args:
            problem: what to reach.
            init: the previous plan, shifted to now, with actions (B, T, A).
            generator: of all randomness, on the model's device.
            deadline_s: seconds after which the best plan so far is returned; None for no limit.
        """
        ...


@runtime_checkable
class HasExecution(Protocol):
    """A planner that can run in more than one way.

    Attributes:
        execution: 'eager', 'cuda graph', or 'eager: capture failed: ' and why.
    """

    @property
    def execution(self) -> str: ...  # noqa: D102 - see the class


def execution_of(planner: Planner) -> str:
    """How the planner runs, after `prepare`; 'eager' where it knows no other way."""
    return planner.execution if isinstance(planner, HasExecution) else EAGER


def execution_failed(planner: Planner) -> bool:
    """Whether the planner runs eagerly because something faster failed."""
    return execution_of(planner).startswith(f'{EAGER}: ')
