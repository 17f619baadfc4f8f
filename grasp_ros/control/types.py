"""The data that observation, planning and command exchange."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, IntEnum, auto

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Observation:
    """What a world model's encoder sees.

    Attributes:
        images: (B, K, 3, h, w) float RGB in [0, 1]; of C > 1 cameras (B, K, C, 3, h, w), in the
            order of the manifest.
        proprioception: normalised (B, K, Q), or None: goals have none.
    """

    images: Tensor
    proprioception: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PlanProblem:
    """Reach `goal` from `context` within `horizon` model steps. Actions are normalised.

    Attributes:
        context: latents (B, H, *Z), newest last.
        past_actions: (B, H - 1, A) as published between the context's frames.
        goal: latents (B, *Z).
        action_low: (A,) lower bounds.
        action_high: (A,) upper bounds.
        stop_action: (A,) the action that stops the robot.
        horizon: T, in model steps.
        frame_skip: commands in an action; its A components are those of all of them in turn.
    """

    context: Tensor
    past_actions: Tensor
    goal: Tensor
    action_low: Tensor
    action_high: Tensor
    stop_action: Tensor
    horizon: int
    frame_skip: int = 1

    @property
    def batch(self) -> int:
        """Number of problems B."""
        return self.context.shape[0]


@dataclass(frozen=True, eq=False)
class Plan:
    """A planner's answer for B problems.

    Attributes:
        actions: normalised (B, T, A).
        states: the planner's states s_1 .. s_T (B, T, *Z): virtual states where it has such.
        rollout: serial rollout of `actions` from the context (B, T, *Z): what the model imagines.
        terminal_cost: goal distance of the rollout's last state (B,).
        defect: largest root-mean-square dynamics residual of `states` (B,), in latent units.
        iterations: optimiser iterations made.
        solve_time_s: wall-clock time of the solve in seconds.
        trust_horizon: steps of the rollout before the first that no picture could be of (B,);
            None where the model does not know that.
    """

    actions: Tensor
    states: Tensor
    rollout: Tensor
    terminal_cost: Tensor
    defect: Tensor
    iterations: int
    solve_time_s: float
    trust_horizon: Tensor | None = None

    @property
    def horizon(self) -> int:
        """T, in model steps."""
        return self.actions.shape[1]


class ActionKind(str, Enum):
    """What an action commands; it decides which action stops the robot."""

    VELOCITY = 'velocity'
    EFFORT = 'effort'
    RELATIVE = 'relative'
    POSITION = 'position'


@dataclass(frozen=True, eq=False)
class ActionSpace:
    """Actions in physical units, and how a model's normalised actions map to them.

    Attributes:
        kind: what an action commands.
        names: (R,) names of the components of one command.
        units: (R,) SI units (REP-103).
        low: (R,) lower limits.
        high: (R,) upper limits.
        mean: (R,) of the training data.
        std: (R,) of the training data, positive.
        frame_skip: commands in one model step; a model action is all of them, A = R * skip.
    """

    kind: ActionKind
    names: tuple[str, ...]
    units: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    frame_skip: int = 1

    @property
    def size(self) -> int:
        """Components R of one command."""
        return len(self.names)

    def normalise(self, commands: NDArray[np.float64]) -> NDArray[np.float64]:
        """Physical commands (..., frame_skip, R) to normalised actions (..., A)."""
        normal = (commands - self.mean) / self.std
        return normal.reshape(*commands.shape[:-2], self.frame_skip * self.size)

    def denormalise(self, actions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised actions (..., A) to physical commands (..., frame_skip, R)."""
        shaped = actions.reshape(*actions.shape[:-1], self.frame_skip, self.size)
        return shaped * self.std + self.mean


@dataclass(frozen=True, eq=False)
class ProprioceptionSpace:
    """What a robot feels of itself, in physical units, and how a model's inputs map to it.

    Attributes:
        names: (Q,) of the components.
        units: (Q,) SI units (REP-103).
        mean: (Q,) of the training data.
        std: (Q,) of the training data, positive.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Components Q."""
        return len(self.names)

    def normalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Physical values (..., Q) to a model's inputs (..., Q)."""
        return (values - self.mean) / self.std


class State(IntEnum):
    """State of the controller; the values are those of grasp_ros/msg/PlanStatus."""

    WAITING_IMAGE = 0
    WAITING_GOAL = 1
    PLANNING = 2
    RUNNING = 3
    REACHED = 4
    DISABLED = 5
    STALE_IMAGE = 6
    PLAN_EXPIRED = 7
    PLANNER_ERROR = 8
    BAD_PLAN = 9
    BAD_IMAGE = 10
    STALLED = 11
    CONFLICT = 12


class Clamp(Flag):
    """Which limits changed a command; false where none did."""

    NONE = 0
    BOX = auto()
    RATE = auto()
    ACCELERATION = auto()


@dataclass(frozen=True)
class ClampCounts:
    """Commands that a limit has changed.

    Attributes:
        total: for any reason.
        box: outside the box.
        rate: changing too fast.
        acceleration: changing their rate too fast.
    """

    total: int = 0
    box: int = 0
    rate: int = 0
    acceleration: int = 0

    def plus(self, clamp: Clamp) -> ClampCounts:
        """The counts with one more command."""
        return ClampCounts(
            self.total + bool(clamp),
            self.box + (Clamp.BOX in clamp),
            self.rate + (Clamp.RATE in clamp),
            self.acceleration + (Clamp.ACCELERATION in clamp),
        )


@dataclass(frozen=True, eq=False)
class Command:
    """What to send to the actuator at one control tick.

    Attributes:
        action: physical units (R,), or None where nothing is to be sent.
        state: why.
        reason: for people; empty while RUNNING.
        clamped: which limits changed the action.
        observation_stamp_ns: of the image behind the action; 0 for a stop.
    """

    action: NDArray[np.float64] | None
    state: State
    reason: str
    clamped: Clamp = Clamp.NONE
    observation_stamp_ns: int = 0


def to_tensor(array: NDArray[np.float64], like: Tensor) -> Tensor:
    """A numpy array as a tensor of `like`'s dtype and device."""
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)


def to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array on the host."""
    return np.asarray(tensor.detach().to('cpu', torch.float64).numpy())
