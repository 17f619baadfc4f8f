"""Interface of a dataset, simulated or recorded; windows of it; its description on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.calibration import Strict
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.models.sensors import CAMERA, SensorSpec


class Dataset(Protocol):
    """Episodes of images and the actions between them."""

    @property
    def episodes(self) -> int:
        """Number of episodes E."""
        ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Actions in each episode (E,): one less than its frames."""
        ...

    @property
    def action_dim(self) -> int:
        """Components A of a normalised action."""
        ...

    @property
    def description(self) -> Description:
        """Commands, images and rates."""
        ...

    @property
    def action_space(self) -> ActionSpace:
        """Action space with limits and statistics of a command."""
        ...

    @property
    def inputs(self) -> SensorSpec:
        """Cameras and proprioception that a model can be given."""
        ...

    def images(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Images (*S, 3, h, w) float in [0, 1] at index arrays of shape S.

        Of K > 1 cameras they are (*S, K, 3, h, w).
        """
        ...

    def normalised_proprioception(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Tensor:
        """Normalised proprioception (*S, Q) at index arrays of shape S; Q may be 0."""
        ...

    def actions(self, episodes: NDArray[np.int64], start: NDArray[np.int64], count: int) -> Tensor:
        """Normalised actions (N, count, A) that follow frames `start` (N,)."""
        ...

    def command_fractions(self) -> NDArray[np.float64]:
        """Command of each frame as a fraction of the fastest, for each component.

        Of all frames, episode after episode (N, R); zero for a robot that is to stand still, and
        after the last frame of an episode.
        """
        ...


def draw_windows(
    lengths: NDArray[np.int64], span: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw windows uniformly over all that lie within one episode.

    Args:
        lengths: actions in each episode (E,).
        span: actions in a window; 0 for single frames.
        count: windows N.
        rng: draws them.

    Returns:
        Episodes (N,) and first frames (N,).

    Raises:
        ValueError: if no episode is long enough.
    """
    starts = np.maximum(lengths - span + 1, 0)
    total = int(starts.sum())
    if not total:
        raise ValueError(
            f'windows of {span} steps are needed, but the longest episode has {lengths.max()}; '
            'record longer episodes, or shorten the windows with --span'
        )
    if (starts == starts[0]).all():
        # Not as below: so were the windows drawn of the models that come with the package.
        episodes = rng.integers(0, len(lengths), count)
        return episodes, rng.integers(0, starts[0], count)
    ends = starts.cumsum()
    number = rng.integers(0, total, count)
    episodes = np.searchsorted(ends, number, side='right')
    return episodes, number - (ends - starts)[episodes]


def frame_numbers(
    lengths: NDArray[np.int64], stride: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Episodes (N,) and steps (N,) of every frame, or of every `stride`-th, in order."""
    frames = lengths // stride + 1
    episodes = np.repeat(np.arange(len(lengths)), frames)
    first = frames.cumsum() - frames
    return episodes, stride * (np.arange(frames.sum()) - first[episodes])


DESCRIPTION_NAME = 'dataset.json'


class DatasetError(ValueError):
    """A dataset cannot be used; the message names the file, the fault and the way out."""


class RecordedAction(Strict):
    """Components of one command.

    Attributes:
        kind: what a command is; it decides which one stops the robot.
        names: of the R components.
        units: of each.
        low: limits that commands kept to; None for the lowest and highest that were recorded.
        high: see `low`.
    """

    kind: ActionKind
    names: list[str] = Field(min_length=1)
    units: list[str]
    low: list[float] | None = None
    high: list[float] | None = None

    @model_validator(mode='after')
    def _consistent(self) -> RecordedAction:
        for name in ('units', 'low', 'high'):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.names):
                raise ValueError(f'{name} needs {len(self.names)} entries, as names')
        if (self.low is None) != (self.high is None):
            raise ValueError('low and high are given both or not at all')
        return self


class Description(Strict):
    """Description of a recorded dataset.

    Attributes:
        action: the commands.
        image: size of the images, and how they were brought to it.
        cameras: names of the K cameras.
        model_dt: seconds from frame to frame.
        frame_skip: commands from frame to frame.
        proprioception: names of the Q components; empty for none.
        proprioception_units: of each; empty where unknown.
        source: where it comes from, for people.
    """

    format: Literal['grasp_ros/recorded/1'] = 'grasp_ros/recorded/1'
    action: RecordedAction
    image: ImagePipeline
    cameras: list[str] = Field(default=[CAMERA], min_length=1)
    model_dt: float = Field(gt=0)
    frame_skip: int = Field(default=1, gt=0)
    proprioception: list[str] = Field(default_factory=list)
    proprioception_units: list[str] = Field(default_factory=list)
    source: dict[str, Any] = Field(default_factory=dict)

    @field_validator('cameras')
    @classmethod
    def _only_camera(cls, cameras: list[str]) -> list[str]:
        """Datasets were once made that call their only camera `image`."""
        return [CAMERA] if cameras == ['image'] else cameras


def read_description(folder: Path) -> Description:
    """Read and check `dataset.json` in a folder.

    Raises:
        DatasetError: if it is missing, incomplete or inconsistent.
    """
    path = folder / DESCRIPTION_NAME
    try:
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f'{path}: cannot be read ({error.strerror}); a recorded dataset is a folder with this '
            'file'
        ) from error
    except ValidationError as error:
        faults = '; '.join(
            f'{".".join(map(str, item["loc"])) or "file"}: {item["msg"]}'
            for item in error.errors()
        )
        raise DatasetError(f'{path}: {faults}; make the dataset again') from error


class GrowingArray:
    """A .npy file (N, *row), N counted up as rows are appended.

    numpy leaves room in the header for the first axis to grow, so that the header can be
    rewritten in place.
    """

    def __init__(self, path: Path, dtype: DTypeLike, row: tuple[int, ...]) -> None:
        """Make an empty file.

        Args:
            path: replaced where it exists.
            dtype: of the elements.
            row: shape of what follows the first axis.
        """
        self._path = path
        self._dtype = np.dtype(dtype)
        self._row = row
        self._count = 0
        self._file = path.open('wb')
        self._write_header()

    def __len__(self) -> int:
        return self._count

    def check(self, rows: NDArray[np.generic]) -> None:
        """Refuse rows of another shape.

        Raises:
            ValueError: naming both shapes.
        """
        if rows.shape[1:] != self._row:
            raise ValueError(f'{self._path.stem} has rows of {rows.shape[1:]}, not {self._row}')

    def append(self, rows: NDArray[np.generic]) -> None:
        """Append rows (n, *row), then count them in the header; errors as `check`."""
        self.check(rows)
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._file.flush()
        self._count += len(rows)
        self._write_header()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {
            'descr': npy.dtype_to_descr(self._dtype),
            'fortran_order': False,
            'shape': (self._count, *self._row),
        }
        npy.write_array_header_1_0(self._file, header)
        self._file.flush()
