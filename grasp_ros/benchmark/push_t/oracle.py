"""The simulator's true dynamics of Push-T as a world model: tells planner from model failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.protocol import Observation
from grasp_ros.planning.problem import to_numpy, to_tensor
from grasp_ros.sim.push_t.world import (
    AGENT_RADIUS,
    ANGLE_TOLERANCE,
    CONTROL_PERIOD,
    FRAME_SKIP,
    MAX_DISPLACEMENT,
    METRES_PER_PIXEL,
    POSITION_GAIN,
    POSITION_TOLERANCE,
    STATE_SIZE,
    TICK_S,
    VELOCITY_GAIN,
    WALL_HIGH,
    WALL_LOW,
    advance,
    gap,
)

PIXELS_PER_UNIT = 100.0
"""Of the latents; about what the agent drives in a model step at full speed."""
ARM = POSITION_TOLERANCE / ANGLE_TOLERANCE
"""Radius in px at which a turn by the angle tolerance is as long as the position tolerance."""
POSE_SIZE = 6
LATENT_SIZE = POSE_SIZE + 5
TICKS = round(CONTROL_PERIOD / TICK_S)
CLEAR = 1.0
"""Farther than this from the block, in px, the agent does not touch it."""
STATE_DIFFERENCE = 0.02
ACTION_DIFFERENCE = 0.1
"""Steps of finite differences, in units of latents and of normalised actions."""

ACTION_SPACE = ActionSpace(
    kind=ActionKind.RELATIVE,
    names=('x', 'y'),
    units=('m', 'm'),
    low=np.full(2, -MAX_DISPLACEMENT),
    high=np.full(2, MAX_DISPLACEMENT),
    mean=np.zeros(2),
    std=np.full(2, MAX_DISPLACEMENT / 2),
    frame_skip=FRAME_SKIP,
)


def latents_of(states: NDArray[np.float64]) -> Tensor:
    """Simulator states (..., 10) as latents (..., 11): places, the angle as a point, velocities."""
    turned = states[..., 4:5]
    angle = np.concatenate([np.cos(turned), np.sin(turned)], axis=-1) * ARM
    velocities = states[..., 5:] * CONTROL_PERIOD
    velocities[..., 4] *= ARM
    parts = [states[..., :4], angle, velocities]
    return torch.from_numpy(np.concatenate(parts, axis=-1) / PIXELS_PER_UNIT)


def states_of(latents: Tensor) -> NDArray[np.float64]:
    """The reverse of `latents_of`; places beyond the walls are moved onto them."""
    values = to_numpy(latents) * PIXELS_PER_UNIT
    states = np.empty((*values.shape[:-1], STATE_SIZE))
    states[..., :4] = np.clip(values[..., :4], WALL_LOW, WALL_HIGH)
    states[..., 4] = np.arctan2(values[..., 5], values[..., 4])
    states[..., 5:] = values[..., POSE_SIZE:] / CONTROL_PERIOD
    states[..., 9] /= ARM
    return states


class OracleModel:
    """The simulator behind the WorldModel protocol.

    A latent is a state, so nothing is lost by encoding. Derivatives are one-sided finite
    differences, one simulated row for each component that is asked for: planners that use them
    are slow, and where the agent does not touch the block they see no way to move it. Imagined
    states may be ones that the table never is in, as an agent inside the block; physics then
    pushes them apart.
    """

    latent_shape = (LATENT_SIZE,)
    action_dim = ACTION_SPACE.size * FRAME_SKIP
    history = 1
    device = torch.device('cpu')
    dtype = torch.float64

    def encode(self, observation: Observation) -> Tensor:
        """Refused: the oracle sees states, not images."""
        raise TypeError('the oracle model sees states of the simulator: use latents_of')

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (N, 1, 11) and normalised actions (N, 1, A) to the next latents (N, 11)."""
        return _Simulated.apply(latents[:, -1], actions[:, -1])

    def time_to_reach(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Straight way (...) from the pose in latents (..., 11) to that of goals, in 100 px.

        Places of agent and block, and the block's angle at the radius `ARM`: an optimistic time to
        reach in model steps. Velocities do not count.
        """
        gap = (latents - goal)[..., :POSE_SIZE]
        return (gap.square().sum(dim=-1) + 1e-8).sqrt()


def _simulate(latents: Tensor, actions: Tensor) -> Tensor:
    """Simulated next latents of latents (N, 11) with actions (N, A); NaN stays NaN."""
    finite = torch.isfinite(latents).all(dim=-1) & torch.isfinite(actions).all(dim=-1)
    following = torch.full_like(latents, torch.nan)
    commands = ACTION_SPACE.denormalise(to_numpy(actions[finite]))
    ends = ends_of(states_of(latents[finite]), commands)
    following[finite] = latents_of(ends).to(following)
    return following


def ends_of(states: NDArray[np.float64], commands: NDArray[np.float64]) -> NDArray[np.float64]:
    """The states (B, 10) that tables (B, 10) come to by commands (B, N, 2).

    As `advance` says; an agent that does not come near a standing block is a linear system, which
    takes all tables in one go and a hundredth of the time.
    """
    agent, ticks = states[:, [0, 1, 5, 6]], []
    for displacement in commands.swapaxes(0, 1):
        moved = np.clip(displacement, -MAX_DISPLACEMENT, MAX_DISPLACEMENT) / METRES_PER_PIXEL
        target = np.clip(agent[:, :2] + moved, WALL_LOW + AGENT_RADIUS, WALL_HIGH - AGENT_RADIUS)
        for _ in range(TICKS):
            pull = POSITION_GAIN * (target - agent[:, :2]) - VELOCITY_GAIN * agent[:, 2:]
            speed = agent[:, 2:] + pull * TICK_S
            agent = np.concatenate([agent[:, :2] + speed * TICK_S, speed], axis=1)
            ticks.append(agent)
    path = np.stack(ticks, axis=1)
    along = np.repeat(states[:, None], path.shape[1], axis=1)
    along[..., :2] = path[..., :2]
    free = (gap(along) > CLEAR).all(axis=1) & (states[:, 7:] == 0).all(axis=1)
    ends = states.copy()
    ends[:, [0, 1, 5, 6]] = agent
    ends[~free] = advance(states[~free], commands[~free])[:, -1]
    return ends


class _Simulated(torch.autograd.Function):
    """The simulator with finite differences."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, actions: Tensor) -> Tensor:
        """See OracleModel.predict, without the dimension of the history."""
        following = _simulate(latents, actions)
        ctx.save_for_backward(latents, actions, following)
        return following

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Only what is asked for is simulated."""
        latents, actions, following = ctx.saved_tensors
        of_latents = of_actions = None
        if ctx.needs_input_grad[0]:
            steps = torch.full_like(latents, STATE_DIFFERENCE)
            of_latents = _pulled(latents, steps, following, gradients[0],
                                 lambda moved, rows: _simulate(moved, actions[rows]))
        if ctx.needs_input_grad[1]:
            # Inwards: beyond its limits a command does no more.
            steps = torch.where(actions > 0, -ACTION_DIFFERENCE, ACTION_DIFFERENCE)
            of_actions = _pulled(actions, steps.to(actions), following, gradients[0],
                                 lambda moved, rows: _simulate(latents[rows], moved))
        return of_latents, of_actions


def _pulled(
    inputs: Tensor, steps: Tensor, outputs: Tensor, gradient: Tensor, function: Any
) -> Tensor:
    """The gradient in `inputs` (N, C) of a function of rows, given that in its outputs (N, D)."""
    count, size = inputs.shape
    moved = (inputs[:, None] + torch.diag_embed(steps)).reshape(count * size, size)
    rows = torch.arange(count).repeat_interleave(size)
    change = function(moved, rows).reshape(count, size, -1) - outputs[:, None]
    return (change / steps[..., None] * gradient[:, None]).sum(dim=-1)


def action_of(commands: NDArray[np.float64]) -> Tensor:
    """Commands (L * skip, 2) in m as normalised actions (1, L, A)."""
    shaped = commands.reshape(-1, FRAME_SKIP, ACTION_SPACE.size)
    like = torch.zeros((), dtype=OracleModel.dtype)
    return to_tensor(ACTION_SPACE.normalise(shaped), like)[None]
