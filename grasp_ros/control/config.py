"""Configuration of the controller: horizon, times, distances, checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from grasp_ros.control.image_checks import GuardConfig
from grasp_ros.control.types import NANOSECONDS


@dataclass(frozen=True)
class ControllerConfig:
    """Configuration of the controller.

    Attributes:
        horizon: T in model steps.
        horizon_mode: 'shrinking' with the executed steps down to `horizon_floor`, renewed by a
            new goal or a stall, or 'fixed'.
        horizon_floor: smallest shrunken horizon, model steps.
        model_dt: seconds of one model step.
        one_step_latent: mean squared latent distance of one step of motion; NaN where unknown.
        image_timeout: seconds after which the newest image is stale.
        sync_tolerance: seconds that what several sensors gave may lie apart in one observation.
        max_plan_age: seconds, from the image it was made from, after which a plan has expired.
        planning_delay: seconds from the start of planning to the first action of the new plan;
            where the delay is estimated, only until some were measured.
        estimate_delay: whether measured delays replace `planning_delay`; False is reproducible.
        replan_period: seconds from the image behind a plan to that behind the next one; 0 plans
            from every image.
        deadline: seconds that a solve may take; None for no limit (reproducible).
        max_defect: a plan with a larger dynamics defect is refused; in latent units.
        reached_distance: goal distance below which the goal counts as reached; 0 never.
        released_distance: goal distance above which it no longer does.
        progress_noise: a goal distance is nearer than one before if it is smaller by more than
            this and the fraction `progress_ratio` of it: what noise does not explain.
        progress_ratio: see `progress_noise`.
        stall_time: seconds without progress after which a shrunken horizon is renewed.
        give_up_time: seconds of being driven without progress after which the robot is stopped
            until a new goal comes; 0 never.
        stop_decay: seconds in which a stop decays to the stop action; 0 at once.
        dry_run: commands are made but not sent, so the robot is taken to stand.
        seed: of the planner's randomness.
        guard: bounds of the image checks.
    """

    horizon: int = 50
    horizon_mode: Literal['fixed', 'shrinking'] = 'shrinking'
    horizon_floor: int = 8
    model_dt: float = 0.1
    one_step_latent: float = float('nan')
    image_timeout: float = 0.5
    sync_tolerance: float = 0.05
    max_plan_age: float = 1.0
    planning_delay: float = 0.08
    estimate_delay: bool = False
    replan_period: float = 0.0
    deadline: float | None = None
    max_defect: float = float('inf')
    reached_distance: float = 0.0
    released_distance: float = 0.0
    progress_noise: float = 0.0
    progress_ratio: float = 0.05
    stall_time: float = 2.0
    give_up_time: float = 0.0
    stop_decay: float = 0.0
    dry_run: bool = False
    seed: int = 0
    guard: GuardConfig = field(default_factory=GuardConfig)

    @property
    def step_ns(self) -> int:
        """Nanoseconds of one model step."""
        return round(self.model_dt * NANOSECONDS)
