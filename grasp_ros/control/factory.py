"""A controller from a model, its manifest and a planner, without ROS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.limits import Limits
from grasp_ros.control.novelty import Novelty
from grasp_ros.control.observation import Picture
from grasp_ros.control.progress import RELEASE
from grasp_ros.control.timing import Timer, untimed
from grasp_ros.messages.images import to_model_input
from grasp_ros.models.calibration import DistanceCurve
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import WorldModel
from grasp_ros.planning.objective import GoalDistance
from grasp_ros.planning.protocol import Planner

VISIBLE = 0.25
"""Of the squared latent change of one step: half a step of motion is seen by any camera."""


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
    timer: Timer = untimed,
) -> Controller:
    """Build a controller; what the manifest says replaces what `config` says of it.

    Args:
        model: the world model.
        manifest: of the model.
        planner: built for the model.
        limits: of the last gate, physical units.
        config: the policy; `model_dt`, distances and visible changes come from the manifest.
        goal_tolerance: the goal counts as reached within so many model steps of motion, by the
            calibration in the manifest; 0 for never.
        timer: of the phases of planning.
    """
    return Controller(
        model,
        planner,
        preprocessor(manifest),
        manifest.action_space,
        limits,
        policy_for(manifest, planner.distance, config, goal_tolerance),
        timer,
        novelty_measure(model, manifest),
        manifest.inputs,
    )


def preprocessor(manifest: Manifest) -> Callable[[Picture], NDArray[np.float32]]:
    """What turns (h, w, 3) uint8 RGB into the encoder's input (3, h', w') float in [0, 1]."""
    image = manifest.image
    return lambda picture: to_model_input(picture, image.height, image.width, image.fit)


def replan_period(asked: float, manifest: Manifest) -> float:
    """Seconds between replans, where 0 leaves it to the model.

    The commands of one model step are planned together: of a step with several, all are executed.
    """
    return asked or (manifest.model_dt if manifest.frame_skip > 1 else 0.0)


def policy_for(
    manifest: Manifest, distance: GoalDistance, config: ControllerConfig, goal_tolerance: float
) -> ControllerConfig:
    """The policy `config` with what a manifest says of time and of distances.

    Manifests without curves know one step only: distances grow in proportion, noise is unknown.

    Args:
        manifest: of the model.
        distance: the planner's goal distance.
        config: the policy.
        goal_tolerance: as in `build_controller`.
    """
    one_step = manifest.calibration.one_step_latent or math.nan
    config = replace(
        config,
        model_dt=manifest.model_dt,
        replan_period=replan_period(config.replan_period, manifest),
        one_step_latent=one_step,
        guard=replace(config.guard, visible_change=VISIBLE * one_step),
    )
    curve = distance_curve(manifest, distance)
    if curve is None:
        reached = goal_tolerance * one_step_distance(manifest, distance)
        return replace(
            config, reached_distance=reached, released_distance=RELEASE * reached
        )
    never = goal_tolerance == 0
    return replace(
        config,
        reached_distance=0.0 if never else curve.reached(goal_tolerance),
        released_distance=0.0 if never else curve.released(goal_tolerance),
        progress_noise=curve.noise,
        progress_ratio=curve.noise_ratio,
    )


def distance_curve(manifest: Manifest, distance: GoalDistance) -> DistanceCurve | None:
    """How the manifest says that a goal distance grows; None where it does not."""
    calibration = manifest.calibration
    return calibration.latent if distance.kind == 'latent' else calibration.time_to_reach


def novelty_measure(model: WorldModel, manifest: Manifest) -> Novelty | None:
    """What tells familiar pictures from others, as far as the manifest is calibrated for it."""
    calibration = manifest.calibration
    bounds = calibration.reconstruction_bound, calibration.off_manifold_bound
    return None if bounds == (None, None) else Novelty(model, *bounds)


def one_step_distance(manifest: Manifest, distance: GoalDistance) -> float:
    """Goal distance of one model step of motion by the manifest's calibration; 0 if unknown."""
    calibration = manifest.calibration
    if distance.kind == 'latent':
        return calibration.one_step_latent or 0.0
    return calibration.one_step_time_to_reach or 0.0
