"""A controller from a model, its manifest and a planner, without ROS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grasp_ros.core.config import ControllerConfig
from grasp_ros.core.controller import Controller
from grasp_ros.core.limits import Limits
from grasp_ros.core.planner import Planner
from grasp_ros.core.world_model import WorldModel
from grasp_ros.images import to_model_input
from grasp_ros.models.checkpoint import Manifest

RELEASE = 2.0


def model_limits(manifest: Manifest) -> Limits:
    """The box of the model's training data, without a rate limit."""
    space = manifest.action_space
    return Limits(space.low, space.high, np.full(space.size, np.inf))


def build_controller(
    model: WorldModel,
    manifest: Manifest,
    planner: Planner,
    limits: Limits,
    config: ControllerConfig,
    goal_tolerance: float,
) -> Controller:
    """Build a controller; what the manifest says replaces what `config` says of it.

    Args:
        model: the world model.
        manifest: of the model.
        planner: built for the model.
        limits: of the last gate, physical units.
        config: the policy; `model_dt` and the goal's distances come from the manifest.
        goal_tolerance: the goal counts as reached within so many model steps of motion, by the
            calibration in the manifest, until the distance is twice that; 0 for never.
    """
    calibration = manifest.calibration
    one_step = (
        calibration.one_step_latent
        if planner.distance.kind == 'latent'
        else calibration.one_step_time_to_reach
    )
    reached = goal_tolerance * (one_step or 0.0)
    image = manifest.image

    def preprocess(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return to_model_input(picture, image.height, image.width, image.fit)

    return Controller(
        model,
        planner,
        preprocess,
        manifest.action_space,
        limits,
        replace(
            config,
            model_dt=manifest.model_dt,
            reached_distance=reached,
            released_distance=RELEASE * reached,
        ),
    )
