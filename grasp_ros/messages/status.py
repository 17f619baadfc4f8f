"""Plans, status and imagination as the fields of messages, for ROS and for recorded bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.control.factory import PlannerStack
from grasp_ros.control.observation import SensorData
from grasp_ros.control.planning_loop import PlanReport
from grasp_ros.control.types import Command, State
from grasp_ros.messages.images import from_model_output, to_model_input
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import HasDecoder, WorldModel
from grasp_ros.planning.problem import to_numpy
from grasp_ros.planning.protocol import Planner

UNKNOWN = float('nan')
FRAMES_SHOWN = 6


@dataclass(frozen=True)
class LoopStatistics:
    """Replans, ticks and refusals since activation: what happened around the controller.

    Attributes:
        report: of the newest replan that counts, or None before it.
        plans: made.
        missed: control ticks.
        jitter_s: of this tick.
        images_refused: of all sensors.
        solves_late: beyond their deadline.
        checked: report of the newest replan that checked an image, or None before it.
    """

    report: PlanReport | None
    plans: int
    missed: int
    jitter_s: float
    images_refused: int
    solves_late: int
    checked: PlanReport | None = None


@dataclass(frozen=True)
class Status:
    """Fields of PlanStatus.msg, which gives their meanings and units, without the header."""

    state: State
    reason: str
    goal_distance: float
    goal_distance_unit: str
    image_age: float
    plan_age: float
    novelty: float
    prediction_error: float
    planning_delay: float
    solve_time: float
    iterations: int
    horizon: int
    terminal_cost: float
    trust_horizon: int
    defect: float
    plans: int
    missed: int
    clamped: int
    clamped_box: int
    clamped_rate: int
    clamped_acceleration: int
    images_refused: int
    plans_dropped: int
    solves_late: int
    jitter: float
    dry_run: bool
    planner: str
    device: str
    execution: str


def build_status(
    stack: PlannerStack, command: Command, loop: LoopStatistics, now_ns: int, planner_name: str
) -> Status:
    """Status of one control tick, of the node and of a replay.

    Args:
        stack: after the tick.
        command: of the tick.
        loop: what happened around the controller.
        now_ns: of the tick.
        planner_name: as the parameter says.
    """
    controller, report, checked = stack.controller, loop.report, loop.checked
    plan = report.plan if report else None
    image_check = checked.image_check if checked else None
    clamps = controller.clamps
    return Status(
        state=command.state,
        reason=command.reason,
        goal_distance=report.goal_distance if report else UNKNOWN,
        goal_distance_unit=stack.planner.distance.unit,
        image_age=controller.image_age(now_ns),
        plan_age=controller.plan_age(now_ns),
        novelty=image_check.novelty if image_check else UNKNOWN,
        prediction_error=checked.prediction_error if checked else UNKNOWN,
        planning_delay=(
            report.planning_delay_s if report else controller.config.planning_delay
        ),
        solve_time=plan.solve_time_s if plan else UNKNOWN,
        iterations=plan.iterations if plan else 0,
        horizon=plan.horizon if plan else 0,
        terminal_cost=float(plan.terminal_cost[0]) if plan else UNKNOWN,
        trust_horizon=(
            int(plan.trust_horizon[0]) if plan and plan.trust_horizon is not None else -1
        ),
        defect=float(plan.defect[0]) if plan else UNKNOWN,
        plans=loop.plans,
        missed=loop.missed,
        clamped=clamps.total,
        clamped_box=clamps.box,
        clamped_rate=clamps.rate,
        clamped_acceleration=clamps.acceleration,
        images_refused=loop.images_refused,
        plans_dropped=controller.plans_dropped,
        solves_late=loop.solves_late,
        jitter=loop.jitter_s,
        dry_run=controller.config.dry_run,
        planner=planner_name,
        device=str(stack.model.device),
        execution=str(stack.planner.execution),
    )


def plan_fields(report: PlanReport, manifest: Manifest, planner: Planner) -> dict[str, Any]:
    """ActionPlan of an accepted plan, with the goal distance along its rollout, without stamps."""
    plan, timed, encoded = report.plan, report.timed, report.encoded
    if plan is None or timed is None or encoded is None or encoded.goal is None:
        raise ValueError('the report holds no plan')
    with torch.no_grad():
        along = planner.distance(plan.rollout, encoded.goal[:, None])[0]
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
    report: PlanReport, model: WorldModel, manifest: Manifest
) -> NDArray[np.uint8]:
    """Now, decoded states along the plan, goal, side by side: (h, C * w * 8, 3) uint8 RGB.

    Of a model that cannot decode, now and goal alone.

    Args:
        report: with a plan.
        model: decodes, where it can.
        manifest: gives the size of each image.
    """
    if report.plan is None or report.encoded is None or report.goal is None:
        raise ValueError('the report holds no plan')
    image = manifest.image

    def resized(data: SensorData) -> list[NDArray[np.uint8]]:
        return [
            from_model_output(to_model_input(rgb, image.height, image.width, image.fit))
            for rgb in data.images
        ]

    imagined = _decoded(model, report.plan.rollout[0]) if isinstance(model, HasDecoder) else []
    shown = [*resized(report.encoded.data), *imagined, *resized(report.goal.data)]
    return np.concatenate(shown, axis=1)


@torch.no_grad()
def _decoded(model: HasDecoder, rollout: Tensor) -> list[NDArray[np.uint8]]:
    """Images (h, w, 3) of some states of a rollout (T, *Z), the last among them."""
    shown = np.linspace(0, len(rollout) - 1, FRAMES_SHOWN + 1).round().astype(int)[1:]
    decoded = to_numpy(model.decode(rollout[torch.from_numpy(shown).to(rollout.device)]))
    return [from_model_output(frame) for frame in decoded]
