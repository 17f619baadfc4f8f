"""Plans, status and imagination as the fields of messages, for ROS and for recorded bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.observation import SensorData
from grasp_ros.control.plan_report import PlanReport
from grasp_ros.control.types import ClampCounts, Command
from grasp_ros.messages.images import from_model_output, to_model_input
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import HasDecoder, WorldModel
from grasp_ros.planning.problem import to_numpy
from grasp_ros.planning.protocol import Planner, execution_of

UNKNOWN = float('nan')
FRAMES_SHOWN = 6


@dataclass(frozen=True)
class Statistics:
    """What the node knows beside the controller's reports.

    Attributes:
        image_age_s: of the newest image.
        plan_age_s: of the image behind the plan.
        plans: made since activation.
        missed: control ticks.
        clamps: commands that limits changed.
        jitter_s: of this tick.
        planning_delay_s: from the start of planning to a plan's first action.
        plans_dropped: made for an old goal or before a stop.
        images_refused: since activation.
        solves_late: since activation.
        novelty: of the newest picture; NaN where it is not measured.
        prediction_error: of what was imagined for the newest image, in model steps of motion.
    """

    image_age_s: float
    plan_age_s: float
    plans: int
    missed: int
    clamps: ClampCounts
    jitter_s: float
    planning_delay_s: float
    plans_dropped: int
    images_refused: int = 0
    solves_late: int = 0
    novelty: float = UNKNOWN
    prediction_error: float = UNKNOWN


def status_fields(
    command: Command,
    report: PlanReport | None,
    statistics: Statistics,
    planner: Planner,
    values: dict[str, object],
    device: torch.device,
) -> dict[str, Any]:
    """PlanStatus of one control tick without its header; `report` is the newest replan's."""
    plan = report.plan if report else None
    outlook = report.outlook if report else None
    distance = outlook.distance if outlook else None
    return {
        'state': int(command.state),
        'reason': command.reason,
        'goal_distance': UNKNOWN if distance is None else distance,
        'goal_distance_unit': planner.distance.unit,
        'image_age': statistics.image_age_s,
        'plan_age': statistics.plan_age_s,
        'novelty': statistics.novelty,
        'prediction_error': statistics.prediction_error,
        'planning_delay': statistics.planning_delay_s,
        'solve_time': plan.solve_time_s if plan else UNKNOWN,
        'iterations': plan.iterations if plan else 0,
        'horizon': plan.horizon if plan else 0,
        'terminal_cost': float(plan.terminal_cost[0]) if plan else UNKNOWN,
        'trust_horizon': (
            int(plan.trust_horizon[0]) if plan and plan.trust_horizon is not None else -1
        ),
        'defect': float(plan.defect[0]) if plan else UNKNOWN,
        'plans': statistics.plans,
        'missed': statistics.missed,
        'clamped': statistics.clamps.total,
        'clamped_box': statistics.clamps.box,
        'clamped_rate': statistics.clamps.rate,
        'clamped_acceleration': statistics.clamps.acceleration,
        'plans_dropped': statistics.plans_dropped,
        'images_refused': statistics.images_refused,
        'solves_late': statistics.solves_late,
        'jitter': statistics.jitter_s,
        'dry_run': bool(values['dry_run']),
        'planner': str(values['planner.name']),
        'device': str(device),
        'execution': execution_of(planner),
    }


def plan_fields(report: PlanReport, manifest: Manifest, planner: Planner) -> dict[str, Any]:
    """ActionPlan of an accepted plan, with the goal distance along its rollout, without stamps."""
    plan, timed, outlook = report.plan, report.timed, report.outlook
    if plan is None or timed is None or outlook is None or outlook.goal is None:
        raise ValueError('the report holds no plan')
    with torch.no_grad():
        along = planner.distance.to_goal(plan.rollout, outlook.goal[:, None])[0]
    commands = timed.commands.reshape(plan.horizon, -1)
    skip = manifest.frame_skip
    return {
        'model_dt': manifest.model_dt,
        'horizon': plan.horizon,
        'action_dim': commands.shape[1],
        'action_names': list(manifest.action.names) * skip,
        'action_units': list(manifest.action.units) * skip,
        'actions': commands.ravel().tolist(),
        'terminal_cost': float(plan.terminal_cost[0]),
        'goal_distances': to_numpy(along).tolist(),
        'defect': float(plan.defect[0]),
        'solve_time': plan.solve_time_s,
        'iterations': plan.iterations,
    }


def film_strip(
    report: PlanReport,
    model: WorldModel,
    manifest: Manifest,
    now: SensorData,
    goal: SensorData,
) -> NDArray[np.uint8]:
    """Now, decoded states along the plan, goal, side by side: (h, C * w * 8, 3) uint8 RGB.

    Of a model that cannot decode, now and goal alone.

    Args:
        report: with a plan.
        model: decodes, where it can.
        manifest: gives the size of each picture.
        now: what C cameras see.
        goal: the same.
    """
    if report.plan is None:
        raise ValueError('the report holds no plan')
    image = manifest.image

    def resized(view: SensorData) -> list[NDArray[np.uint8]]:
        return [
            from_model_output(to_model_input(picture, image.height, image.width, image.fit))
            for picture in view.pictures
        ]

    imagined = _decoded(model, report.plan.rollout[0]) if isinstance(model, HasDecoder) else []
    return np.concatenate([*resized(now), *imagined, *resized(goal)], axis=1)


@torch.no_grad()
def _decoded(model: HasDecoder, rollout: Tensor) -> list[NDArray[np.uint8]]:
    """Pictures (h, w, 3) of some states of a rollout (T, *Z), the last among them."""
    shown = np.linspace(0, len(rollout) - 1, FRAMES_SHOWN + 1).round().astype(int)[1:]
    decoded = to_numpy(model.decode(rollout[torch.from_numpy(shown).to(rollout.device)]))
    return [from_model_output(frame) for frame in decoded]
