"""What a recorded dataset says of itself, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.calibration import Strict
from grasp_ros.models.manifest import ImagePipeline

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
    """What is in a recorded dataset.

    Attributes:
        action: the commands.
        image: size of the pictures, and how they were brought to it.
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
    cameras: list[str] = Field(default=['image'], min_length=1)
    model_dt: float = Field(gt=0)
    frame_skip: int = Field(default=1, gt=0)
    proprioception: list[str] = Field(default_factory=list)
    proprioception_units: list[str] = Field(default_factory=list)
    source: dict[str, Any] = Field(default_factory=dict)


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
