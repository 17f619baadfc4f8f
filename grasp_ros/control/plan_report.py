"""What one replan did."""

from __future__ import annotations

from dataclasses import dataclass

from grasp_ros.control.planning_loop import EncodedObservation
from grasp_ros.control.timed_plan import TimedPlan
from grasp_ros.control.types import State
from grasp_ros.planning.problem import Plan


@dataclass(frozen=True, eq=False)
class PlanReport:
    """What one call of `Controller.plan` did.

    Attributes:
        plan: the new plan, or None.
        timed: its commands on the clock, or None.
        outlook: what the model sees now, or None where nothing could be encoded.
        state: RUNNING where a plan was made or the last one still serves, REACHED, or why there is
            none.
        reason: for people; empty where all is well.
        horizon: of the plan in model steps, 0 without one.
        accepted: False where goal, activation or stop changed meanwhile and the plan was dropped.
    """

    state: State
    reason: str = ''
    plan: Plan | None = None
    timed: TimedPlan | None = None
    outlook: EncodedObservation | None = None
    horizon: int = 0
    accepted: bool = False

    @property
    def counts(self) -> bool:
        """Whether the status follows it: neither does the last plan serve, nor was its dropped."""
        still_serves = self.state is State.RUNNING and self.plan is None
        return not still_serves and (self.plan is None or self.accepted)
