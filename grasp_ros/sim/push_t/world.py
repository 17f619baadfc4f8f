"""Push-T: a round agent pushes a T-shaped block on a table, with pymunk's rigid-body physics.

The world is that of Diffusion Policy (Chi et al., RSS 2023, arXiv 2303.04137), with the relative
actions of DINO-WM (arXiv 2411.04983): 512 x 512 px, x to the right and y down in the image, as in
a camera's optical frame (REP-103). Angles grow from x to y, clockwise in the image.

A state is a row of `STATE_NAMES`. It holds all that the future depends on: whoever sets a state
that another table was in gets the same future, to the last bit.
"""

from __future__ import annotations

import math

import numpy as np
import pymunk
from numpy.typing import ArrayLike, NDArray

SIZE = 512.0
"""Side of the table, px."""
METRES_PER_PIXEL = 0.001
AGENT_RADIUS = 15.0
BAR = 30.0
"""Thickness of the block's bars, px; each is four times as long in all."""
TICK_S = 0.01
CONTROL_PERIOD = 0.1
"""How long one command is followed, s."""
FRAME_SKIP = 5
"""Commands in one step of a world model, as in DINO-WM."""
MAX_DISPLACEMENT = 0.04
"""Limit of each component of a command, m."""

STATE_NAMES = (
    'agent.x', 'agent.y', 'block.x', 'block.y', 'block.angle',
    'agent.velocity.x', 'agent.velocity.y', 'block.velocity.x', 'block.velocity.y',
    'block.velocity.angle',
)  # fmt: skip
"""Positions in px and angles in rad; the block's place is the middle of its bar's outer edge."""
STATE_SIZE = len(STATE_NAMES)

WALL_LOW, WALL_HIGH = 7.0, 504.0
"""Inner surfaces of the walls, px."""
WALL_THICKNESS = 100.0
POSITION_GAIN, VELOCITY_GAIN = 100.0, 20.0
"""Of the controller that moves the agent to its target; critically damped."""
BLOCK_MASS = 1.0
BLOCK_CENTRE = (0.0, 1.5 * BAR)
"""Centre of gravity in the block's frame, px."""
BLOCK_BARS = (
    (-2 * BAR, 0.0, 2 * BAR, BAR),
    (-BAR / 2, BAR, BAR / 2, 4 * BAR),
)
"""x_min, y_min, x_max, y_max of both bars in the block's frame, px."""
BLOCK_OUTLINE = np.array(
    [
        [-2 * BAR, 0.0], [2 * BAR, 0.0], [2 * BAR, BAR], [BAR / 2, BAR],
        [BAR / 2, 4 * BAR], [-BAR / 2, 4 * BAR], [-BAR / 2, BAR], [-2 * BAR, BAR],
    ]
)  # fmt: skip
"""Corners (8, 2) in the block's frame, px."""

POSITION_TOLERANCE = 20.0
ANGLE_TOLERANCE = math.pi / 9


class PushTable:
    """One table in continuous time; `advance` is the same for many and in control periods."""

    def __init__(self, state: ArrayLike) -> None:
        """Put agent and block where `state` (10,) says; see `set_state`."""
        self.set_state(state)

    @property
    def state(self) -> NDArray[np.float64]:
        """The present state (10,)."""
        agent, block = self._agent, self._block
        return np.array(
            [
                *agent.position,
                *block.position,
                block.angle,
                *agent.velocity,
                *block.velocity,
                block.angular_velocity,
            ]
        )

    def set_state(self, state: ArrayLike) -> None:
        """Put agent and block where `state` (10,) says; the agent's target is where it is.

        Raises:
            ValueError: if the state is not ten finite numbers.
        """
        values = np.asarray(state, dtype=np.float64)
        if values.shape != (STATE_SIZE,) or not np.isfinite(values).all():
            raise ValueError(f'state {state!r} refused: it must be {STATE_SIZE} finite numbers')
        # A new space remembers no contacts: with those of before, the future would depend on more
        # than the state.
        self._space, self._agent, self._block = _build_space(values.tolist())
        self._target = tuple(values[:2].tolist())

    def command(self, displacement: ArrayLike) -> None:
        """From now on move the agent to so far from where it is.

        Args:
            displacement: (2,) in m, clipped to `MAX_DISPLACEMENT` in each component, and so that
                the agent does not run into a wall.

        Raises:
            ValueError: if it is not two finite numbers; the agent then goes on as before.
        """
        asked = np.asarray(displacement, dtype=np.float64)
        if asked.shape != (2,) or not np.isfinite(asked).all():
            raise ValueError(
                f'displacement {displacement!r} refused: it must be two finite numbers'
            )
        state = self.state
        moved = np.clip(asked, -MAX_DISPLACEMENT, MAX_DISPLACEMENT) / METRES_PER_PIXEL
        self.set_state(state)
        nearest, farthest = WALL_LOW + AGENT_RADIUS, WALL_HIGH - AGENT_RADIUS
        self._target = tuple(np.clip(state[:2] + moved, nearest, farthest).tolist())

    def tick(self, count: int = 1) -> None:
        """Let `count` times `TICK_S` pass."""
        agent, (target_x, target_y) = self._agent, self._target
        (x, y), (speed_x, speed_y) = agent.position, agent.velocity
        for _ in range(count):
            speed_x += (POSITION_GAIN * (target_x - x) - VELOCITY_GAIN * speed_x) * TICK_S
            speed_y += (POSITION_GAIN * (target_y - y) - VELOCITY_GAIN * speed_y) * TICK_S
            agent.velocity = speed_x, speed_y
            self._space.step(TICK_S)
            # Nothing stops the agent, so this is where pymunk has it.
            x, y = x + speed_x * TICK_S, y + speed_y * TICK_S

    def step(self, displacement: ArrayLike) -> NDArray[np.float64]:
        """Follow a command for one control period; the state (10,) after it."""
        self.command(displacement)
        self.tick(round(CONTROL_PERIOD / TICK_S))
        return self.state


def advance(
    states: NDArray[np.float64], commands: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Follow commands on many tables.

    Args:
        states: (B, 10).
        commands: displacements (B, N, 2) in m, one for each control period.

    Returns:
        The states (B, N, 10) after each control period.
    """
    after = np.empty((*commands.shape[:2], STATE_SIZE))
    for index, state in enumerate(states):
        table = PushTable(state)
        for step, displacement in enumerate(commands[index]):
            after[index, step] = table.step(displacement)
    return after


def make_state(agent: ArrayLike, block: ArrayLike, angle: float) -> NDArray[np.float64]:
    """The state (10,) of an agent and a block at rest at (2,) and (2,) in px, angle in rad."""
    return np.concatenate([np.asarray(agent), np.asarray(block), [angle], np.zeros(5)])


def errors(
    states: NDArray[np.float64], goals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position error (...) of agent and block together in px, and angle error (...) in rad."""
    position = np.linalg.norm(states[..., :4] - goals[..., :4], axis=-1)
    turned = states[..., 4] - goals[..., 4]
    angle = np.abs((turned + np.pi) % (2 * np.pi) - np.pi)
    return np.asarray(position), np.asarray(angle)


def succeeded(
    states: NDArray[np.float64], goals: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """DINO-WM's criterion (...) for states (..., >= 5): under 20 px and under a ninth of pi."""
    position, angle = errors(states, goals)
    return np.asarray((position < POSITION_TOLERANCE) & (angle < ANGLE_TOLERANCE))


def outline(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (..., 8, 2) of the block in px, in states (..., >= 5)."""
    cos, sin = np.cos(states[..., 4]), np.sin(states[..., 4])
    rotation = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return np.asarray(BLOCK_OUTLINE @ rotation + states[..., None, 2:4])


def gap(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (...) between agent and block in px, in states (..., >= 5); <= 0 in contact."""
    offset = states[..., :2] - states[..., 2:4]
    cos, sin = np.cos(states[..., 4]), np.sin(states[..., 4])
    x, y = offset[..., 0], offset[..., 1]
    local = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    distances = []
    for x_min, y_min, x_max, y_max in BLOCK_BARS:
        centre = np.array([x_min + x_max, y_min + y_max]) / 2
        half = np.array([x_max - x_min, y_max - y_min]) / 2
        outside = np.abs(local - centre) - half
        apart = np.linalg.norm(np.maximum(outside, 0.0), axis=-1)
        distances.append(apart + np.minimum(outside.max(axis=-1), 0.0))
    return np.asarray(np.minimum(*distances) - AGENT_RADIUS)


def _build_space(values: list[float]) -> tuple[pymunk.Space, pymunk.Body, pymunk.Body]:
    """A space with walls, the agent and the block."""
    space = pymunk.Space()
    # Nothing slides on: what is not pushed stands.
    space.damping = 0.0
    low, high = WALL_LOW - WALL_THICKNESS, WALL_HIGH + WALL_THICKNESS
    corners = [(low, low), (high, low), (high, high), (low, high)]
    for begin, end in zip(corners, corners[1:] + corners[:1], strict=True):
        space.add(pymunk.Segment(space.static_body, begin, end, WALL_THICKNESS))

    agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
    agent.position = values[0], values[1]
    agent.velocity = values[5], values[6]
    space.add(agent, pymunk.Circle(agent, AGENT_RADIUS))

    corners_of = [
        [(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)]
        for x_min, y_min, x_max, y_max in BLOCK_BARS
    ]
    # As in the original, both bars turn as heavily as the first.
    moment = 2 * pymunk.moment_for_poly(BLOCK_MASS, corners_of[0])
    block = pymunk.Body(BLOCK_MASS, moment)
    block.center_of_gravity = BLOCK_CENTRE
    # The block turns about its centre of gravity: the angle comes first.
    block.angle = values[4]
    block.position = values[2], values[3]
    block.velocity = values[7], values[8]
    block.angular_velocity = values[9]
    space.add(block, *(pymunk.Poly(block, bar) for bar in corners_of))
    return space, agent, block
