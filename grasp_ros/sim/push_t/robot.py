"""The Push-T table in continuous time, with a camera: a task of the node `sim_robot`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from grasp_ros.sim.protocol import Pose
from grasp_ros.sim.push_t.episodes import make_episode
from grasp_ros.sim.push_t.world import (
    AGENT_RADIUS,
    METRES_PER_PIXEL,
    SIZE,
    TICK_S,
    WALL_HIGH,
    WALL_LOW,
    PushTable,
    outline,
)


class PushTRobot:
    """Obeys displacements; each ends by itself, so that nothing moves long without commands."""

    frame = 'table'

    def __init__(self, seed: int, time_s: float) -> None:
        """Begin the episode of `seed`."""
        self.reset(seed, time_s)

    def reset(self, seed: int, time_s: float) -> None:
        """See CameraRobot."""
        self._episode = make_episode(seed)
        self._table = PushTable(self._episode.start)
        self._time_s = time_s
        self._left_s = 0.0

    def command(self, values: ArrayLike, time_s: float) -> None:
        """Move the agent by so much (2,) in m from where it is at `time_s`; see CameraRobot."""
        self.advance_to(time_s)
        self._table.command(values)

    def advance_to(self, time_s: float) -> None:
        """See CameraRobot; what is less than a tick of the physics is made up for later."""
        self._left_s += max(0.0, time_s - self._time_s)
        self._time_s = time_s
        ticks = int(self._left_s / TICK_S + 1e-6)
        self._left_s = max(0.0, self._left_s - ticks * TICK_S)
        self._table.tick(ticks)

    def image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return render(self._table.state)

    def goal_image(self) -> NDArray[np.uint8]:
        """See CameraRobot."""
        return render(self._episode.goal)

    def truth(self) -> Mapping[str, Pose]:
        """See CameraRobot; `block` and `block_goal` as well."""
        now, goal = self._table.state, self._episode.goal
        return {
            'block': _pose(*now[2:5]),
            'block_goal': _pose(*goal[2:5]),
            'pose': _pose(*now[:2]),
            'goal': _pose(*goal[:2]),
        }

    def episode(self) -> dict[str, Any]:
        """See CameraRobot; `start` and `goal` are agent, block and the block's angle in rad."""
        return {
            'seed': self._episode.seed,
            'start': self._episode.start[:5].tolist(),
            'goal': self._episode.goal[:5].tolist(),
            'moves_block': self._episode.moves_block,
            'budget': self._episode.budget,
        }

    def summary(self) -> str:
        """See CameraRobot."""
        return 'the block must move' if self._episode.moves_block else 'the block may rest'


def _pose(x_px: float, y_px: float, angle: float = 0.0) -> Pose:
    return Pose(float(x_px) * METRES_PER_PIXEL, float(y_px) * METRES_PER_PIXEL, float(angle))


IMAGE_SIDE = 64
OVERSAMPLING = 4
FRACTION_BITS = 8
TABLE = (238, 236, 228)
WALL = (196, 194, 188)
BLOCK = (66, 92, 150)
AGENT = (200, 52, 44)


def render(states: NDArray[np.float64], side: int = IMAGE_SIDE) -> NDArray[np.uint8]:
    """Images of the table, edges smoothed; no goal is drawn in.

    Args:
        states: (..., >= 5), see `grasp_ros.sim.push_t.world`.
        side: of an image, px.

    Returns:
        (..., side, side, 3) uint8 RGB.
    """
    flat = states.reshape(-1, states.shape[-1])
    background = _background(side)
    scale = side * OVERSAMPLING / SIZE * 2**FRACTION_BITS
    # OpenCV counts from the middle of the first pixel.
    half = 2 ** (FRACTION_BITS - 1)
    corners = np.rint(outline(flat) * scale - half).astype(np.int32)
    centres = np.rint(flat[:, :2] * scale - half).astype(np.int32)
    radius = round(AGENT_RADIUS * scale)
    images = np.empty((len(flat), side, side, 3), np.uint8)
    for image, polygon, centre in zip(images, corners, centres, strict=True):
        canvas = background.copy()
        cv2.fillPoly(canvas, [polygon], BLOCK, shift=FRACTION_BITS)
        cv2.circle(canvas, centre.tolist(), radius, AGENT, cv2.FILLED, shift=FRACTION_BITS)
        cv2.resize(canvas, (side, side), dst=image, interpolation=cv2.INTER_AREA)
    return images.reshape(*states.shape[:-1], side, side, 3)


def _background(side: int) -> NDArray[np.uint8]:
    """The empty table, enlarged."""
    large = side * OVERSAMPLING
    canvas = np.full((large, large, 3), WALL, np.uint8)
    low, high = (round(edge * large / SIZE) for edge in (WALL_LOW, WALL_HIGH))
    canvas[low:high, low:high] = TABLE
    return canvas
