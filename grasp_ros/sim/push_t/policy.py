"""Scripted motion on the Push-T table that touches the block often: what a model is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.sim.push_t.world import (
    AGENT_RADIUS,
    FRAME_SKIP,
    MAX_DISPLACEMENT,
    METRES_PER_PIXEL,
    SIZE,
    STATE_SIZE,
    WALL_HIGH,
    WALL_LOW,
    PushTable,
    gap,
    make_state,
    outline,
)

Array = NDArray[np.float64]

MIDDLE = np.full(2, SIZE / 2)
CENTRAL = 110.0
"""Blocks are pushed to so far from the table's middle at most, or nearer to it, px."""
AGENT_MARGIN, BLOCK_MARGIN = AGENT_RADIUS + 3.0, 8.0
"""Distances that agent and block keep from the walls, px."""
RETREAT = 60.0
"""How far the agent goes back where it has pushed the block to a wall, px."""
FREE_MOTION, STANDING = 0.15, 0.05
"""Of the segments of a motion; the others push."""
NEAREST_OF = 4
"""Half of the pushes are the one of so many that begins nearest to the agent."""
DETOURS = 0.6
"""Of the pushes that begin on the block's far side: the others run into the block on their way."""
DETOUR_RADIUS = 105.0
SPEEDS = (0.008, 0.036)
"""Range of a segment's displacement per command, m."""
NOISE = 0.004
"""Standard deviation of each component of every command, m."""
ARRIVED = 8.0
PUSHES_TRIED = 100
MAX_SEGMENT = 40
"""Commands after which a segment is given up: the block may be in the way."""


@dataclass(frozen=True)
class PushTMotion:
    """Recorded motion.

    Attributes:
        states: (E, L * skip + 1, 10), before each command and after the last.
        commands: (E, L * skip, 2) displacements in m.
    """

    states: Array
    commands: Array

    @property
    def frames(self) -> Array:
        """The states (E, L + 1, 10) that a world model of `FRAME_SKIP` sees."""
        return self.states[:, ::FRAME_SKIP]

    @property
    def actions(self) -> Array:
        """The commands (E, L, skip, 2) between them."""
        return self.commands.reshape(len(self.commands), -1, FRAME_SKIP, 2)


class ScriptedPolicy:
    """Goes from place to place: to a side of the block and through it, or anywhere."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw everything from `rng`."""
        self._rng = rng
        self._waypoints: list[Array] = []
        self._speed = 0.0
        self._left = 0
        self._retreats = False

    def command(self, state: Array) -> Array:
        """The next displacement (2,) in m, in `state` (10,)."""
        while self._waypoints and np.linalg.norm(self._waypoints[0] - state[:2]) < ARRIVED:
            self._waypoints.pop(0)
        corners = outline(state)
        if not self._retreats and gap(state) < 1.0 and not _inside(corners, BLOCK_MARGIN):
            away = state[:2] - corners.mean(axis=0)
            back = state[:2] + RETREAT * away / max(float(np.linalg.norm(away)), 1.0)
            self._waypoints, self._left, self._retreats = [_clipped(back)], MAX_SEGMENT, True
        elif not self._left or not self._waypoints:
            self._begin(state)
        self._left -= 1
        way = (self._waypoints[0] - state[:2]) * METRES_PER_PIXEL
        length = float(np.linalg.norm(way))
        # A displacement moves the agent less than half as far.
        driven = way * min(2.5, self._speed / max(length, 1e-9))
        noisy = driven + self._rng.normal(0.0, NOISE, 2) * (self._speed > 0)
        return np.clip(noisy, -MAX_DISPLACEMENT, MAX_DISPLACEMENT)

    def _begin(self, state: Array) -> None:
        """Begin another segment."""
        rng = self._rng
        self._left, self._retreats = MAX_SEGMENT, False
        self._speed = float(rng.uniform(*SPEEDS))
        kind = rng.random()
        if kind < STANDING:
            self._waypoints, self._speed = [state[:2] + 2 * ARRIVED], 0.0
            self._left = int(rng.integers(2, 10))
        elif kind < STANDING + FREE_MOTION:
            self._waypoints = [self._anywhere()]
        else:
            self._waypoints = self._push(state)

    def _push(self, state: Array) -> list[Array]:
        """Waypoints: perhaps round the block, to its side, and through it."""
        rng = self._rng
        wanted = NEAREST_OF if rng.random() < 0.5 else 1
        pushes: list[tuple[Array, Array]] = []
        for _ in range(PUSHES_TRIED):
            push = self._draw_push(outline(state))
            if push is not None:
                pushes.append(push)
            if len(pushes) == wanted:
                break
        if not pushes:
            return [self._anywhere()]
        start, finish = min(pushes, key=lambda push: float(np.linalg.norm(push[0] - state[:2])))
        middle = outline(state).mean(axis=0)
        return [*self._detour(state[:2], start, middle), start, finish]

    def _draw_push(self, corners: Array) -> tuple[Array, Array] | None:
        """Begin and end (2,) of a push against a block with these corners; None if unsuitable."""
        rng = self._rng
        edge = int(rng.integers(len(corners)))
        begin, end = corners[edge], corners[(edge + 1) % len(corners)]
        touched = begin + rng.random() * (end - begin)
        along = (end - begin) / np.linalg.norm(end - begin)
        angle = rng.uniform(-1.0, 1.0)
        # The outline runs from x to y: its inside lies that way.
        inward = np.array([-along[1], along[0]])
        heading = math.cos(angle) * inward + math.sin(angle) * along
        start = touched - heading * (AGENT_RADIUS + rng.uniform(5.0, 45.0))
        length = rng.uniform(20.0, 160.0)
        finish = touched + heading * length
        # Something like this is where the block ends.
        middle = corners.mean(axis=0)
        pushed = middle + heading * max(0.0, length - 20.0)
        central = max(CENTRAL, float(np.linalg.norm(middle - MIDDLE)))
        if not _inside(np.stack([start, finish]), AGENT_MARGIN):
            return None
        return (start, finish) if np.linalg.norm(pushed - MIDDLE) <= central else None

    def _anywhere(self) -> Array:
        return self._rng.uniform(WALL_LOW + AGENT_MARGIN, WALL_HIGH - AGENT_MARGIN, 2)

    def _detour(self, here: Array, there: Array, middle: Array) -> list[Array]:
        """Waypoints round the block, where it lies between `here` and `there`; or none."""
        angles = [math.atan2(*(place - middle)[::-1]) for place in (here, there)]
        turn = (angles[1] - angles[0] + math.pi) % (2 * math.pi) - math.pi
        if abs(turn) < 1.0 or self._rng.random() > DETOURS:
            return []
        count = math.ceil(abs(turn) / 0.8)
        between = angles[0] + turn * np.arange(1, count) / count
        circle = middle + DETOUR_RADIUS * np.stack([np.cos(between), np.sin(between)], -1)
        return list(_clipped(circle))


def draw_state(rng: np.random.Generator) -> Array:
    """A state (10,) at rest: agent and block anywhere, apart from each other and the walls."""
    while True:
        agent, block = rng.uniform(50.0, 450.0, 2), rng.uniform(100.0, 400.0, 2)
        state = make_state(agent, block, rng.uniform(-np.pi, np.pi))
        if gap(state) > 2.0 and _inside(outline(state), BLOCK_MARGIN):
            return state


def record(steps: int, rng: np.random.Generator) -> PushTMotion:
    """One episode of so many control periods."""
    policy = ScriptedPolicy(rng)
    table = PushTable(draw_state(rng))
    states, commands = np.empty((1, steps + 1, STATE_SIZE)), np.empty((1, steps, 2))
    states[0, 0] = table.state
    for step in range(steps):
        commands[0, step] = policy.command(states[0, step])
        states[0, step + 1] = table.step(commands[0, step])
    return PushTMotion(states, commands)


def collect(episodes: int, length: int, seed: int) -> PushTMotion:
    """Record episodes of `length` steps of a world model; each has randomness of its own."""
    parts = [
        record(length * FRAME_SKIP, np.random.default_rng([seed, index]))
        for index in tqdm(range(episodes), desc='motion', unit='episode', leave=False)
    ]
    return PushTMotion(
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.commands for part in parts]),
    )


def _inside(places: Array, margin: float) -> bool:
    """Return whether all of `places` (..., 2) keep so far from the walls."""
    return bool(((places > WALL_LOW + margin) & (places < WALL_HIGH - margin)).all())


def _clipped(places: Array) -> Array:
    """The nearest places (..., 2) that an agent can be at."""
    return np.clip(places, WALL_LOW + AGENT_MARGIN, WALL_HIGH - AGENT_MARGIN)
