"""What a camera above the Push-T table sees."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.push_t.world import AGENT_RADIUS, SIZE, WALL_HIGH, WALL_LOW, outline

PICTURE_SIDE = 64
OVERSAMPLING = 4
FRACTION_BITS = 8
TABLE = (238, 236, 228)
WALL = (196, 194, 188)
BLOCK = (66, 92, 150)
AGENT = (200, 52, 44)


def render(states: NDArray[np.float64], side: int = PICTURE_SIDE) -> NDArray[np.uint8]:
    """Pictures of the table, edges smoothed; no goal is drawn in.

    Args:
        states: (..., >= 5), see `grasp_ros.sim.push_t.world`.
        side: of a picture, px.

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
    pictures = np.empty((len(flat), side, side, 3), np.uint8)
    for picture, polygon, centre in zip(pictures, corners, centres, strict=True):
        canvas = background.copy()
        cv2.fillPoly(canvas, [polygon], BLOCK, shift=FRACTION_BITS)
        cv2.circle(canvas, centre.tolist(), radius, AGENT, cv2.FILLED, shift=FRACTION_BITS)
        cv2.resize(canvas, (side, side), dst=picture, interpolation=cv2.INTER_AREA)
    return pictures.reshape(*states.shape[:-1], side, side, 3)


def _background(side: int) -> NDArray[np.uint8]:
    """The empty table, enlarged."""
    large = side * OVERSAMPLING
    canvas = np.full((large, large, 3), WALL, np.uint8)
    low, high = (round(edge * large / SIZE) for edge in (WALL_LOW, WALL_HIGH))
    canvas[low:high, low:high] = TABLE
    return canvas
