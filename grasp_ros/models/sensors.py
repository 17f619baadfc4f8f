"""Sensors of an observation: cameras and proprioception."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]
"""An image (h, w, 3), RGB."""


@dataclass(frozen=True, eq=False)
class ProprioceptionSpace:
    """Proprioception: names, physical units, and the normalisation of a model's input.

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


PROPRIOCEPTION = 'proprioception'


CAMERA = 'camera'


@dataclass(frozen=True, eq=False)
class SensorSpec:
    """Sensors that a model takes.

    Attributes:
        cameras: their names, in the order of the model's input.
        proprioception: its components; None for a model without.
    """

    cameras: tuple[str, ...] = (CAMERA,)
    proprioception: ProprioceptionSpace | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all sensors, the camera first that says when an observation was made."""
        return (*self.cameras, *([PROPRIOCEPTION] if self.proprioception else []))


def image_topic(inputs: SensorSpec, camera: str) -> str:
    """Topic of a camera: `image` where there is one, `image/<name>` where there are several."""
    return 'image' if len(inputs.cameras) == 1 else f'image/{camera}'
