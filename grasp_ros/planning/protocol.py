"""Protocol of planners, as the controller needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.problem import Plan, PlanProblem

FAILED = 'eager: capture failed: '
STEADY = 0.2
MAX_WARM_UPS = 20


@dataclass(frozen=True)
class Execution:
    """Way in which the solves of a planner run: eager or captured.

    Attributes:
        mode: 'eager' or 'cuda graph'.
        failure: why they are not captured, although they should be; empty where nothing failed.
    """

    mode: str = 'eager'
    failure: str = ''

    def __str__(self) -> str:
        """As in PlanStatus.msg."""
        return FAILED + self.failure if self.failure else self.mode

    @classmethod
    def parse(cls, text: str) -> Execution:
        """The execution that `str` gave as `text`."""
        if text.startswith(FAILED):
            return cls(failure=text.removeprefix(FAILED))
        return cls(text)


@runtime_checkable
class Planner(Protocol):
    """Plans with one world model; may own buffers and captured graphs, never results.

    Attributes:
        distance: the goal distance that it minimises.
        execution: how its solves run, after `prepare`.
    """

    distance: GoalDistance

    @property
    def execution(self) -> Execution: ...  # noqa: D102 - see the class

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


def warm_up(planner: Planner, problem: PlanProblem, generator: torch.Generator) -> list[float]:
    """Prepare a planner for a problem, and solve it until the time is steady.

    Returns:
        The solve times in seconds; they belong to no statistics.
    """
    planner.prepare(problem)
    plan: Plan | None = None
    times: list[float] = []
    while len(times) < MAX_WARM_UPS:
        plan = planner.plan(problem, plan, generator=generator)
        times.append(plan.solve_time_s)
        if len(times) > 2 and abs(times[-1] - times[-2]) < STEADY * times[-2]:
            break
    return times
