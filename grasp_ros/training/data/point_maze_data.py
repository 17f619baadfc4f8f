"""Record the point maze: `python -m grasp_ros.training.data.point_maze_data --output FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from grasp_ros.messages.images import from_model_output, to_model_input
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.sim.point_maze.world import VELOCITY, PointMaze, collect_mass_motion
from grasp_ros.training.data.dataset import DatasetError, Description, RecordedAction
from grasp_ros.training.data.recorded import RecordedWriter

EPISODES, LENGTH, SEED = 900, 50, 0
STREAM = 20266
SIDE = 32
"""Side of the images kept, px: half of the camera's, for a quarter of the work."""
VELOCITY_NAMES = ['linear.x', 'linear.y']


def record(
    folder: Path,
    episodes: int = EPISODES,
    length: int = LENGTH,
    seed: int = SEED,
    overwrite: bool = False,
) -> None:
    """Write a dataset of point masses: images, velocities as proprioception, true states.

    Args:
        folder: to make.
        episodes: how many.
        length: commands of each.
        seed: of all randomness.
        overwrite: replace a dataset that is there.

    Raises:
        DatasetError: if the folder exists and is not to be replaced.
    """
    world = PointMaze()
    motion = collect_mass_motion(world, episodes, length, np.random.default_rng([seed, STREAM]))
    limit = [world.max_acceleration] * 2
    description = Description(
        action=RecordedAction(
            kind=ActionKind.EFFORT,
            names=['acceleration.x', 'acceleration.y'],
            units=['m/s^2', 'm/s^2'],
            low=[-value for value in limit],
            high=limit,
        ),
        image=ImagePipeline(height=SIDE, width=SIDE),
        model_dt=world.control_period,
        proprioception=VELOCITY_NAMES,
        proprioception_units=['m/s', 'm/s'],
        source={'task': 'point_maze', 'seed': seed},
    )
    with RecordedWriter(folder, description, overwrite) as writer:
        for episode in trange(episodes, desc='recording', unit='episode'):
            states = motion.states[episode]
            writer.add(
                np.stack([_small(image) for image in world.render(states[:, :2])]),
                motion.accelerations[episode][:, None],
                proprioception=states[:, VELOCITY].astype(np.float32),
                states=states,
            )


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Image at a model's size, shrunk as the node does."""
    return from_model_output(to_model_input(image, SIDE, SIDE))


def main(arguments: Sequence[str] | None = None) -> int:
    """Record; exit status 2 where the folder cannot be used."""
    parser = argparse.ArgumentParser(prog='point_maze', description=__doc__)
    parser.add_argument('--output', type=Path, required=True, help='folder of the dataset')
    parser.add_argument('--episodes', type=int, default=EPISODES, help='(default: %(default)s)')
    parser.add_argument('--length', type=int, default=LENGTH, help='(default: %(default)s)')
    parser.add_argument('--seed', type=int, default=SEED, help='(default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace a dataset that is there')
    options = parser.parse_args(arguments)
    try:
        record(options.output, options.episodes, options.length, options.seed, options.overwrite)
    except DatasetError as error:
        print(f'point_maze: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
