"""Record scripted Push-T motion as a dataset: `python -m grasp_ros.training.data.push_t_data`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.sim.push_t.policy import PushTMotion, record
from grasp_ros.sim.push_t.robot import IMAGE_SIDE, render
from grasp_ros.sim.push_t.world import (
    CONTROL_PERIOD,
    FRAME_SKIP,
    MAX_DISPLACEMENT,
    WALL_HIGH,
    WALL_LOW,
)
from grasp_ros.training.data.dataset import DatasetError, Description, RecordedAction
from grasp_ros.training.data.recorded import RecordedWriter

MOTION_STREAM, SYMMETRY_STREAM = 20271, 20272
"""Tell this randomness from that of the episodes with the same seed."""


def describe(side: int, source: dict[str, object]) -> Description:
    """Description of a recorded dataset of Push-T with images of `side` px."""
    return Description(
        action=RecordedAction(
            kind=ActionKind.RELATIVE,
            names=['linear.x', 'linear.y'],
            units=['m', 'm'],
            low=[-MAX_DISPLACEMENT] * 2,
            high=[MAX_DISPLACEMENT] * 2,
        ),
        image=ImagePipeline(height=side, width=side),
        model_dt=CONTROL_PERIOD * FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        source=source,
    )


def write_dataset(
    folder: Path,
    episodes: int,
    length: int,
    symmetries: int,
    seed: int,
    side: int = IMAGE_SIDE,
    overwrite: bool = False,
) -> None:
    """Record episodes of `length` model steps; each has randomness of its own.

    Args:
        folder: to write.
        episodes: to simulate.
        length: of an episode.
        symmetries: so many mirrored and turned versions of each are written, 1 to 8.
        seed: of all randomness.
        side: of the images, px; those of the camera are shrunk to it.
        overwrite: replace a dataset that is there.

    Raises:
        DatasetError: if the folder exists and is not to be overwritten.
    """
    source = {
        'task': 'push_t', 'seed': seed, 'episodes': episodes, 'length': length,
        'symmetries': symmetries,
    }  # fmt: skip
    with RecordedWriter(folder, describe(side, source), overwrite) as writer:
        for index in tqdm(range(episodes), desc='recording', unit='episode'):
            motion = record(
                length * FRAME_SKIP, np.random.default_rng([seed, index, MOTION_STREAM])
            )
            add_versions(writer, motion, symmetries, seed, index, side)


def add_versions(
    writer: RecordedWriter,
    motion: PushTMotion,
    symmetries: int,
    seed: int,
    index: int,
    side: int,
) -> None:
    """Append drawn symmetric versions of the episode with this index."""
    order = np.random.default_rng([seed, index, SYMMETRY_STREAM]).permutation(SYMMETRIES)
    for symmetry in order[:symmetries]:
        frames = transform_states(motion.frames[0], int(symmetry))
        actions = transform_commands(motion.actions[0], int(symmetry))
        writer.add(_images(frames, side), actions, states=frames)


def _images(states: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Images (F, side, side, 3) uint8 of states (F, 10), shrunk as the planner node does."""
    images = render(states)
    if side == IMAGE_SIDE:
        return images
    size = (side, side)
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in images])


def main(arguments: list[str] | None = None) -> int:
    """Record; exit status 2 where the folder cannot be used."""
    parser = argparse.ArgumentParser(prog='push_t_data', description=__doc__)
    parser.add_argument('--output', type=Path, required=True, help='folder to write')
    parser.add_argument('--episodes', type=int, default=2000, help='simulated, default 2000')
    parser.add_argument('--length', type=int, default=36, help='model steps of each, default 36')
    parser.add_argument(
        '--symmetries',
        type=int,
        default=4,
        choices=range(1, SYMMETRIES + 1),
        help='mirrored and turned versions of each that are written, default 4',
    )
    parser.add_argument(
        '--side',
        type=int,
        default=IMAGE_SIDE,
        choices=(16, 32, IMAGE_SIDE),
        help=f'side of the images, px (default: {IMAGE_SIDE})',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--overwrite', action='store_true', help='replace a dataset that is there')
    parsed = parser.parse_args(arguments)
    try:
        write_dataset(
            parsed.output,
            parsed.episodes,
            parsed.length,
            parsed.symmetries,
            parsed.seed,
            parsed.side,
            parsed.overwrite,
        )
    except DatasetError as error:
        print(f'push_t_data: {error}', file=sys.stderr)
        return 2
    return 0


SYMMETRIES = 8
CENTRE = (WALL_LOW + WALL_HIGH) / 2


def matrix(symmetry: int) -> NDArray[np.float64]:
    """The map (2, 2) of displacements; 0 changes nothing.

    Args:
        symmetry: 0 to 7: bit 0 swaps x and y, then bit 1 mirrors x and bit 2 mirrors y.
    """
    swap = np.eye(2)[::-1] if symmetry & 1 else np.eye(2)
    mirror = np.array([-1.0 if symmetry & 2 else 1.0, -1.0 if symmetry & 4 else 1.0])
    return np.asarray(mirror[:, None] * swap)


def transform_states(states: NDArray[np.float64], symmetry: int) -> NDArray[np.float64]:
    """States (..., 10) of the table mirrored and turned."""
    change = matrix(symmetry)
    new = states.copy()
    for place in (slice(0, 2), slice(2, 4)):
        new[..., place] = (states[..., place] - CENTRE) @ change.T + CENTRE
    for velocity in (slice(5, 7), slice(7, 9)):
        new[..., velocity] = states[..., velocity] @ change.T
    # The block is its own mirror image, so that its upright bar's direction tells its angle.
    upright = np.stack([-np.sin(states[..., 4]), np.cos(states[..., 4])], axis=-1) @ change.T
    new[..., 4] = np.arctan2(-upright[..., 0], upright[..., 1])
    new[..., 9] = states[..., 9] * np.linalg.det(change)
    return new


def transform_commands(commands: NDArray[np.float64], symmetry: int) -> NDArray[np.float64]:
    """Displacements (..., 2) that do on the transformed table what these do on the other."""
    return np.asarray(commands @ matrix(symmetry).T)


if __name__ == '__main__':
    sys.exit(main())
