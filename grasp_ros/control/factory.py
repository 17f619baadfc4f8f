"""A controller from a model, its manifest and a planner, without ROS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from grasp_ros.control.config import ControllerConfig
from grasp_ros.control.controller import Controller
from grasp_ros.control.image_checks import GuardConfig, Novelty
from grasp_ros.control.limits import Limits, longest_stop
from grasp_ros.control.progress import RELEASE
from grasp_ros.control.types import Timer, untimed
from grasp_ros.messages.images import to_model_input
from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.calibration import DistanceCurve
from grasp_ros.models.checkpoint import find_model, load_model
from grasp_ros.models.manifest import Manifest
from grasp_ros.models.protocol import LoadedModel, WorldModel
from grasp_ros.models.registry import LearnedModel
from grasp_ros.models.sensors import RgbImage
from grasp_ros.parameters.parameter import ParameterError
from grasp_ros.parameters.table import CommandParameters, NodeParameters, planner_options
from grasp_ros.planning.objective import GoalDistance, goal_distance
from grasp_ros.planning.protocol import Planner
from grasp_ros.planning.registry import PLANNERS

FloatArray = NDArray[np.float64]
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
        bundle(model, manifest),
        planner,
        limits,
        policy_for(manifest, planner.distance, config, goal_tolerance),
        timer,
    )


def bundle(model: WorldModel, manifest: Manifest) -> LoadedModel:
    """Bundle a world model with what its manifest says of its inputs and commands."""
    return LoadedModel(
        model,
        preprocessor(manifest),
        manifest.action_space,
        manifest.inputs,
        novelty_measure(model, manifest),
    )


def preprocessor(manifest: Manifest) -> Callable[[RgbImage], NDArray[np.float32]]:
    """Make the function from (h, w, 3) uint8 RGB to the encoder's input (3, h', w') in [0, 1]."""
    spec = manifest.image
    return lambda image: to_model_input(image, spec.height, spec.width, spec.fit)


def replan_period(asked: float, manifest: Manifest) -> float:
    """Seconds between replans, where 0 leaves it to the model.

    The commands of one model step are planned together: of a step with several, all are executed.
    """
    return asked or (manifest.model_dt if manifest.frame_skip > 1 else 0.0)


def policy_for(
    manifest: Manifest, distance: GoalDistance, config: ControllerConfig, goal_tolerance: float
) -> ControllerConfig:
    """Fill the times and distances of a manifest into a config.

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
    """Calibrated curve of a goal distance; None where the manifest has none."""
    calibration = manifest.calibration
    return calibration.latent if distance.kind == 'latent' else calibration.time_to_reach


def novelty_measure(model: WorldModel, manifest: Manifest) -> Novelty | None:
    """Novelty measure, as far as the manifest is calibrated for it."""
    calibration = manifest.calibration
    bounds = calibration.reconstruction_bound, calibration.off_manifold_bound
    return None if bounds == (None, None) else Novelty(model, *bounds)


def one_step_distance(manifest: Manifest, distance: GoalDistance) -> float:
    """Goal distance of one model step of motion by the manifest's calibration; 0 if unknown."""
    calibration = manifest.calibration
    if distance.kind == 'latent':
        return calibration.one_step_latent or 0.0
    return calibration.one_step_time_to_reach or 0.0


MAX_STOP_S = 5.0


@dataclass(frozen=True)
class PlannerStack:
    """Controller with the model and planner that it is made of.

    Attributes:
        controller: prepared and warmed up.
        model: on its device.
        manifest: of the model.
        planner: of the controller.
        warm_up_s: solve times of the warm-up, seconds.
    """

    controller: Controller
    model: LearnedModel
    manifest: Manifest
    planner: Planner
    warm_up_s: list[float]


def build_stack(
    params: NodeParameters, timer: Timer = untimed, dtype: torch.dtype = torch.float32
) -> PlannerStack:
    """Load the model, build the planner, warm up; for the planning thread.

    Args:
        params: of the node.
        timer: of the phases of planning.
        dtype: of the model.

    Raises:
        ParameterError: naming the parameter that cannot be used.
        CheckpointError: naming the file that cannot be used.
    """
    torch.set_num_threads(params.torch_threads)
    device = choose_device(params.device)
    model, manifest = load_model(find_model(params.model), device, dtype)
    _check_rate(params.control_rate, manifest)
    _check_plan_age(params, manifest)
    planner = build_planner(params, model)
    limits = build_limits(params.command, params.control_rate, manifest.action_space)
    controller = build_controller(
        model, manifest, planner, limits, controller_config(params), params.goal_tolerance, timer
    )
    return PlannerStack(controller, model, manifest, planner, controller.prepare())


def reconfigure(stack: PlannerStack, params: NodeParameters) -> None:
    """Have the controller follow changed values of the parameters that may change."""
    config = controller_config(params)
    stack.controller.reconfigure(
        policy_for(stack.manifest, stack.planner.distance, config, params.goal_tolerance)
    )


def controller_config(params: NodeParameters) -> ControllerConfig:
    """Configuration that the parameters ask for, without the values of the manifest."""
    return ControllerConfig(
        horizon=params.planner.horizon,
        horizon_mode=params.planner.horizon_mode,
        horizon_floor=params.planner.horizon_floor,
        image_timeout=params.image_timeout,
        sync_tolerance=params.sync_tolerance,
        max_plan_age=params.max_plan_age,
        planning_delay=params.planning_delay,
        estimate_delay=params.latency_compensation == 'estimated',
        replan_period=params.planner.replan_period,
        deadline=params.planner.deadline or None,
        max_defect=params.max_plan_defect or math.inf,
        stall_time=params.planner.stall_time,
        give_up_time=params.goal.give_up_time,
        stop_decay=params.command.stop_decay,
        dry_run=params.dry_run,
        seed=params.seed,
        guard=GuardConfig(
            frozen_timeout=params.frozen_timeout,
            frozen_tolerance=params.frozen_tolerance,
            min_brightness=params.min_brightness,
            min_contrast=params.min_contrast,
            max_novelty=params.max_novelty,
            novel_images=params.novel_images,
        ),
    )


def choose_device(name: str) -> torch.device:
    """The device of that name; 'auto' takes a GPU where there is one.

    Raises:
        ParameterError: if it does not exist here.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(
            f"parameter 'device' is {name!r}; allowed: auto, cpu, cuda, cuda:N"
        ) from error
    if device.type not in ('cpu', 'cuda'):
        raise ParameterError(f"parameter 'device' is {name!r}; allowed: auto, cpu, cuda, cuda:N")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ParameterError(
            f"parameter 'device' is {name!r}, but PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use 'cpu' or 'auto', or install a driver "
            'and a CUDA build of PyTorch'
        )
    return device


def build_planner(params: NodeParameters, model: LearnedModel) -> Planner:
    """The planner that `planner.name` selects, with its options.

    Raises:
        ParameterError: if it cannot plan with this model.
    """
    name, options = params.planner.name, planner_options(params)
    try:
        goal_distance(model, options.goal_distance)
    except ValueError as error:
        raise ParameterError(f"parameter '{name}.goal_distance': {error}") from error
    try:
        return PLANNERS[name].planner(model, options)
    except ValueError as error:
        raise ParameterError(f"parameter 'planner.name': {error}") from error


def build_limits(params: CommandParameters, control_rate: float, space: ActionSpace) -> Limits:
    """The model's box, tightened, and the rate and acceleration limits; `command.*` parameters.

    Args:
        params: of the commands.
        control_rate: commands per second, Hz.
        space: of the model's actions.

    Raises:
        ParameterError: if a list has the wrong length, leaves no room for a command or no way to
            stop, or lets a stop take too long.
    """

    def given(name: str, values: Sequence[float], default: FloatArray) -> FloatArray:
        if not values:
            return default
        if len(values) != space.size:
            raise ParameterError(
                f'parameter {name!r} has {len(values)} entries; the model commands '
                f'{space.size}: {", ".join(space.names)}'
            )
        return np.array(values, dtype=np.float64)

    low = np.maximum(space.low, given('command.low', params.low, space.low))
    high = np.minimum(space.high, given('command.high', params.high, space.high))
    if not (low < high).all():
        raise ParameterError(
            f"parameters 'command.low' and 'command.high' leave no room: {low.tolist()} to "
            f'{high.tolist()}'
        )
    if space.kind is not ActionKind.POSITION and not ((low <= 0) & (high >= 0)).all():
        raise ParameterError(
            f"parameters 'command.low' and 'command.high' leave out zero, so that the robot could "
            f'never stop: {low.tolist()} to {high.tolist()}'
        )
    unlimited = np.full(space.size, np.inf)
    rate = given('command.max_rate', params.max_rate, unlimited)
    acceleration = given('command.max_acceleration', params.max_acceleration, unlimited)
    limits = Limits(low, high, rate, acceleration)
    stop_s = longest_stop(space, limits, 1 / control_rate)
    if stop_s > MAX_STOP_S:
        raise ParameterError(
            f"parameters 'command.max_rate' and 'command.max_acceleration': a stop may take "
            f'{stop_s:.1f} s with {rate.tolist()} and {limits.acceleration.tolist()}; allowed are '
            f"{MAX_STOP_S:g} s: raise them, or narrow 'command.low' and 'command.high'"
        )
    return limits


def _check_plan_age(params: NodeParameters, manifest: Manifest) -> None:
    """Check that a plan is young enough until the next one begins, whole model steps later."""
    step = manifest.model_dt
    begins = max(1, math.ceil(params.planning_delay / step)) * step
    serves = replan_period(params.planner.replan_period, manifest) + 1 / params.control_rate
    needed = begins + serves
    if params.max_plan_age < needed:
        raise ParameterError(
            f"parameter 'max_plan_age' is {params.max_plan_age:g} s, but with model steps of "
            f'{step:g} s the image behind a plan is up to {needed:g} s old while it is executed; '
            f'set it to {1.5 * needed:g}, say'
        )


def _check_rate(control_rate: float, manifest: Manifest) -> None:
    if abs(control_rate - manifest.control_rate) > 1e-6 * manifest.control_rate:
        raise ParameterError(
            f"parameter 'control_rate' is {control_rate:g} Hz, but the model was trained for "
            f'{manifest.control_rate:g} Hz (frame_skip {manifest.frame_skip} / model_dt '
            f'{manifest.model_dt:g} s); set it to {manifest.control_rate:g}'
        )
