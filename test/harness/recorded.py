"""A recorded dataset of a dot that moves as commanded."""

import numpy as np

from grasp_ros.training.data.dataset import Description
from grasp_ros.training.data.recorded import RecordedDataset, RecordedWriter

STEP = 0.04


def dot(places, size):
    """Pictures (F, size, size, 3) with a bright dot at places (F, 2) in [0, 1]."""
    grid = (np.arange(size) + 0.5) / size
    x = np.exp(-0.5 * ((grid - places[:, :1]) / 0.06) ** 2)
    y = np.exp(-0.5 * ((grid - places[:, 1:]) / 0.06) ** 2)
    grey = 40 + 200 * y[:, :, None] * x[:, None, :]
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def write_dots(folder, lengths, size=32, skip=1, seed=0, **action):
    """Write and open episodes of so many steps; a command moves the dot by STEP / skip of it."""
    rng = np.random.default_rng(seed)
    described = {'kind': 'velocity', 'names': ['x', 'y'], 'units': ['m/s', 'm/s'], **action}
    description = Description(
        action=described,
        image={'height': size, 'width': size},
        model_dt=0.1 * skip,
        frame_skip=skip,
    )
    with RecordedWriter(folder, description) as writer:
        for length in lengths:
            commands = np.repeat(rng.uniform(-1, 1, (length // 4 + 1, skip, 2)), 4, axis=0)
            place, places = rng.uniform(0.2, 0.8, 2), []
            for step in range(length + 1):
                places.append(place)
                if step < length:
                    target = place + STEP / skip * commands[step].sum(axis=0)
                    place = np.clip(target, 0.1, 0.9)
            writer.add(dot(np.array(places), size), commands[:length])
    return RecordedDataset(folder)
