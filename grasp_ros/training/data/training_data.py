"""Data of a training run, simulated or recorded: to train on, held out, driven by the model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

from grasp_ros.models.compact.model import CompactModel
from grasp_ros.training.data.dataset import Dataset, DatasetError
from grasp_ros.training.data.recorded import RecordedDataset
from grasp_ros.training.data.simulated import MotionDataset, record, record_on_policy
from grasp_ros.training.evaluation.acceptance import Acceptance, measure_acceptance
from grasp_ros.training.recipes import TrainConfig

HELD_OUT = 0.1
MIN_STEPS = 500
SIDE_FACTOR = 16


class TrainingData(Protocol):
    """Data that a model is trained on and judged by."""

    @property
    def train(self) -> Dataset:
        """Episodes to train on and to calibrate with."""
        ...

    @property
    def held_out(self) -> Dataset:
        """Episodes to judge by."""
        ...

    @property
    def summary(self) -> dict[str, object]:
        """Size of the data and statistics of its commands, for the manifest."""
        ...

    @property
    def identity(self) -> dict[str, object]:
        """Values that tell the data from other data, beside the settings of the run."""
        ...

    def drive(self, model: CompactModel) -> MotionDataset:
        """Record episodes that a model drives.

        Raises:
            ValueError: if there is no robot to drive.
        """
        ...

    def accept(self, model: CompactModel) -> Acceptance | None:
        """Measure a model against the simulator's true states; None without them."""
        ...


class SimulatedData:
    """Random motion in a simulated task; held-out worlds are drawn when they are asked for."""

    def __init__(
        self, config: TrainConfig, layouts: int = 50, fitted: int = 200, judged: int = 300
    ) -> None:
        """Record what is trained on.

        Args:
            config: of the task.
            layouts: largest number of worlds to judge in.
            fitted: episodes that the linear probe is fitted on.
            judged: held-out episodes.
        """
        self._config = config
        self._layouts = min(layouts, config.layouts)
        self._fitted, self._judged = fitted, judged
        self.train = record(config, config.layouts, config.episodes, config.length, config.seed)

    @cached_property
    def held_out(self) -> MotionDataset:
        """Episodes in other worlds."""
        return self._other(self._judged, self._config.seed + 2)

    def _other(self, episodes: int, seed: int) -> MotionDataset:
        return record(self._config, self._layouts, episodes, 50, seed, self.train.action_std)

    @property
    def summary(self) -> dict[str, object]:
        """Size of the data and statistics of its commands."""
        return summary(self.train)

    @property
    def identity(self) -> dict[str, object]:
        """Nothing: the settings of the run say all."""
        return {}

    def drive(self, model: CompactModel) -> MotionDataset:
        """Record episodes that a model drives in worlds that it has not seen."""
        return record_on_policy(self._config, model, self.train.action_std)

    def accept(self, model: CompactModel) -> Acceptance:
        """Measure a model against true positions and path lengths in held-out worlds."""
        seed = self._config.seed
        return measure_acceptance(model, self._other(self._fitted, seed + 1), self.held_out, seed)


class RecordedData:
    """A recorded dataset, some episodes of which are held out."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        """Open a dataset and split it.

        Args:
            folder: of the dataset.
            config: settings of the run.

        Raises:
            DatasetError: if nothing can be learned from it.
        """
        dataset = RecordedDataset(folder)
        check_usable(dataset, config)
        if dataset.description.action.low is None:
            print(
                'warning: no limits of the commands are given; the lowest and highest recorded '
                'ones become those of the model',
                flush=True,
            )
        self.summary = summary(dataset)
        self.train, self.held_out = dataset.split(HELD_OUT, config.seed)

    @property
    def identity(self) -> dict[str, object]:
        """The summary: settings do not say which data they are used with."""
        return self.summary

    def drive(self, model: CompactModel) -> MotionDataset:
        """Refuse: there is no robot to drive."""
        raise ValueError('a model drives in simulated tasks only')

    def accept(self, model: CompactModel) -> None:
        """Return None: the truth is not known."""


def summary(dataset: Dataset) -> dict[str, object]:
    """Size of a dataset and statistics of its commands."""
    space = dataset.action_space
    return {
        'dataset_episodes': dataset.episodes,
        'dataset_steps': int(dataset.lengths.sum()),
        'dataset_mean': [float(value) for value in space.mean],
        'dataset_std': [float(value) for value in space.std],
    }


def check_usable(dataset: RecordedDataset, config: TrainConfig) -> None:
    """Refuse a dataset before the work begins.

    Raises:
        DatasetError: saying what is wrong with it.
    """
    description, folder = dataset.description, dataset.folder
    height, width = description.image.height, description.image.width
    if height != width or height % SIDE_FACTOR:
        raise DatasetError(
            f'{folder}: the images have {width} x {height} pixels; the compact model takes '
            f'squares whose side is a multiple of {SIDE_FACTOR}'
        )
    steps = int(dataset.lengths.sum())
    if steps < MIN_STEPS:
        raise DatasetError(
            f'{folder}: {steps} steps of {description.model_dt:g} s are too little data; at '
            f'least {MIN_STEPS} are needed, and good models take tens of thousands'
        )
    if dataset.lengths.max() < config.span:
        raise DatasetError(
            f'{folder}: the longest episode has {dataset.lengths.max()} steps, but windows of '
            f'{config.span} are learned from; record longer episodes, or shorten the windows with '
            '--span'
        )
    # Says which component is constant, if one is.
    _ = dataset.statistics
