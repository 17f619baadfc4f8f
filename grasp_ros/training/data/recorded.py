"""A recorded dataset on disk: images, commands and what else of episodes, memory-mapped.

A folder with `dataset.json` and, for N frames of E episodes one after the other:

- `images.npy` uint8 (N, K, h, w, 3): RGB of K cameras;
- `commands.npy` float64 (N, frame_skip, R): in force from each frame to the next, physical units;
  zeros after the last frame of an episode;
- `episodes.npy` int64 (E, 2): first frame and number of frames of each;
- `proprioception.npy` float32 (N, Q), where there is any;
- `states.npy` float64 (N, S), where a simulator knows the truth: for judging, never for training.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grasp_ros.models.action_space import ActionKind, ActionSpace
from grasp_ros.models.sensors import ProprioceptionSpace, SensorSpec
from grasp_ros.training.data.dataset import (
    DESCRIPTION_NAME,
    DatasetError,
    Description,
    GrowingArray,
    frame_numbers,
    read_description,
)

FAST_QUANTILE = 0.95


class RecordedWriter:
    """Writes a dataset an episode at a time; what was added can be read however the run ends."""

    def __init__(self, folder: Path, description: Description, overwrite: bool = False) -> None:
        """Begin a dataset.

        Args:
            folder: to make.
            description: of what will be added.
            overwrite: replace a dataset that is there.

        Raises:
            DatasetError: if the folder exists and is not to be replaced, or is no dataset.
        """
        self._description = description
        if folder.exists():
            known = (folder / DESCRIPTION_NAME).exists()
            if any(folder.iterdir()) and not (overwrite and known):
                way = 'use it, or name another' if known else 'and is no dataset; name another'
                raise DatasetError(f'{folder}: the folder exists already {way}')
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        image, action = description.image, description.action
        self._images = GrowingArray(
            folder / 'images.npy',
            np.uint8,
            (len(description.cameras), image.height, image.width, 3),
        )
        self._commands = GrowingArray(
            folder / 'commands.npy', np.float64, (description.frame_skip, len(action.names))
        )
        self._proprioception: GrowingArray | None = None
        if description.proprioception:
            self._proprioception = GrowingArray(
                folder / 'proprioception.npy', np.float32, (len(description.proprioception),)
            )
        self._states: GrowingArray | None = None
        self._folder = folder
        self._episodes = GrowingArray(folder / 'episodes.npy', np.int64, (2,))
        (folder / DESCRIPTION_NAME).write_text(description.model_dump_json(indent=2) + '\n')

    def __enter__(self) -> RecordedWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(
        self,
        images: NDArray[np.uint8],
        commands: NDArray[np.float64],
        proprioception: NDArray[np.floating] | None = None,
        states: NDArray[np.float64] | None = None,
    ) -> None:
        """Append an episode of F frames.

        Args:
            images: (F, K, h, w, 3), or (F, h, w, 3) of one camera.
            commands: (F - 1, frame_skip, R), those between the frames.
            proprioception: (F, Q), where the description names any.
            states: (F, S), in all episodes or in none.

        Raises:
            ValueError: if a shape or type is wrong, or a command is not finite.
        """
        if images.ndim == 4:
            images = images[:, None]
        frames = len(images)
        if frames < 2:
            raise ValueError(f'an episode has at least two frames, not {frames}')
        if images.dtype != np.uint8:
            raise ValueError(f'images must be uint8, not {images.dtype}')
        if len(commands) != frames - 1:
            raise ValueError(
                f'between {frames} frames are the commands of {frames - 1} steps, not of '
                f'{len(commands)}'
            )
        if not np.isfinite(commands).all():
            raise ValueError('a command is not finite')
        first = len(self._images)
        if first == 0 and states is not None:
            self._states = GrowingArray(
                self._folder / 'states.npy', np.float64, (states.shape[1],)
            )
        rows: list[tuple[GrowingArray, NDArray[Any]]] = [
            (self._images, images),
            (self._commands, np.concatenate([commands, np.zeros_like(commands[:1])])),
        ]
        for name, array, values in (
            ('proprioception', self._proprioception, proprioception),
            ('states', self._states, states),
        ):
            if (array is None) != (values is None):
                raise ValueError(f'{name} must be given in all episodes or in none')
            if array is not None and values is not None:
                if len(values) != frames:
                    raise ValueError(f'{name} has {len(values)} rows for {frames} frames')
                rows.append((array, values))
        for file, added in rows:
            file.check(added)
        for file, added in rows:
            file.append(added)
        # Last: an episode that is listed is complete.
        self._episodes.append(np.array([[first, frames]]))

    def close(self) -> None:
        """Close the files."""
        for array in (
            self._images, self._commands, self._proprioception, self._states, self._episodes
        ):  # fmt: skip
            if array is not None:
                array.close()


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the commands of a dataset (R,), and of its proprioception (Q,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    proprioception_mean: NDArray[np.float64]
    proprioception_std: NDArray[np.float64]


class RecordedDataset:
    """Episodes of a recorded dataset; the images stay on the disk."""

    def __init__(
        self,
        folder: Path,
        chosen: Sequence[int] | NDArray[np.int64] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        """Open a dataset.

        Args:
            folder: of the dataset.
            chosen: numbers of the episodes to see; None for all.
            statistics: to normalise actions with; None for those of the episodes seen.

        Raises:
            DatasetError: if something is missing, truncated or inconsistent.
        """
        self.folder = folder
        self.description = read_description(folder)
        self._images = self._open('images')
        self._commands = np.array(self._open('commands'))
        episodes = np.array(self._open('episodes'))
        if not len(episodes):
            raise DatasetError(f'{folder}: the dataset holds no episode')
        needed = int(episodes.sum(axis=1).max())
        self._proprioception = self._states = None
        if self.description.proprioception:
            self._proprioception = self._open('proprioception')
        if (folder / 'states.npy').exists():
            self._states = self._open('states')
        for name in ('images', 'commands', 'proprioception', 'states'):
            array = getattr(self, f'_{name}')
            if array is not None and len(array) < needed:
                raise DatasetError(
                    f'{folder / name}.npy holds {len(array)} frames, but the episodes have '
                    f'{needed}: copy the dataset again'
                )
        self.chosen = np.arange(len(episodes)) if chosen is None else np.asarray(chosen)
        self._first, self._frames = episodes[self.chosen].T
        self._given_statistics = statistics

    def _open(self, name: str) -> NDArray[Any]:
        path = self.folder / f'{name}.npy'
        try:
            return np.asarray(np.lib.format.open_memmap(path, mode='r'))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f'{path}: missing, truncated or not an array ({error}); copy or make the dataset '
                'again'
            ) from error

    @property
    def episodes(self) -> int:
        """Number of episodes E."""
        return len(self.chosen)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Actions in each episode (E,): one less than its frames."""
        return np.asarray(self._frames - 1, np.int64)

    @property
    def action_dim(self) -> int:
        """Components A of a normalised action: those of all commands of a step."""
        return int(np.prod(self._commands.shape[1:]))

    def images(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Images (*S, 3, h, w) float in [0, 1] at index arrays of shape S.

        Of several cameras they are (*S, K, 3, h, w).
        """
        images = torch.from_numpy(self.stored_images(episodes, steps))
        tensor = images.movedim(-1, -3).float().div_(255)
        return tensor.squeeze(-4) if len(self.description.cameras) == 1 else tensor

    def stored_images(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Images (*S, K, h, w, 3) uint8 as they are on the disk."""
        return np.array(self._images[self._rows(episodes, steps)])

    def actions(self, episodes: NDArray[np.int64], start: NDArray[np.int64], count: int) -> Tensor:
        """Normalised actions (N, count, A) that follow frames `start` (N,)."""
        steps = start[:, None] + np.arange(count)
        commands = self._commands[self._rows(episodes[:, None], steps)]
        return torch.from_numpy(self.action_space.normalise(commands)).float()

    def command_fractions(self) -> NDArray[np.float64]:
        """Mean command of each frame over what few commands exceed (N, R).

        Of positions it is the change of the command that counts. Of all frames, episode after
        episode; zero after the last of each.
        """
        episodes, steps = frame_numbers(self.lengths)
        commands = self._commands[self._rows(episodes, steps)].mean(axis=1)
        if self.description.action.kind == ActionKind.POSITION:
            commands = np.diff(commands, axis=0, prepend=commands[:1])
            commands[steps == 0] = 0.0
        commands[steps == self.lengths[episodes]] = 0.0
        size = np.abs(commands)
        fastest = np.quantile(size, FAST_QUANTILE, axis=0)
        return commands / np.where(fastest > 0, fastest, np.maximum(size.max(axis=0), 1e-12))

    def proprioception(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Proprioception (*S, Q) in physical units.

        Raises:
            DatasetError: if there is none.
        """
        if self._proprioception is None:
            raise DatasetError(f'{self.folder}: the dataset has no proprioception')
        return torch.from_numpy(np.array(self._proprioception[self._rows(episodes, steps)]))

    @cached_property
    def inputs(self) -> SensorSpec:
        """Cameras, and proprioception with its statistics; errors as `statistics`."""
        names = tuple(self.description.proprioception)
        if not names:
            return SensorSpec(tuple(self.description.cameras))
        units = tuple(self.description.proprioception_units) or ('',) * len(names)
        mean, std = self.statistics.proprioception_mean, self.statistics.proprioception_std
        space = ProprioceptionSpace(names, units, mean, std)
        return SensorSpec(tuple(self.description.cameras), space)

    def normalised_proprioception(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Tensor:
        """Normalised proprioception (*S, Q) at index arrays of shape S; Q may be 0."""
        space = self.inputs.proprioception
        if space is None:
            return torch.empty(*np.shape(steps), 0)
        values = self.proprioception(episodes, steps).double().numpy()
        return torch.from_numpy(space.normalise(values)).float()

    def states(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """True states (*S, S) of the simulator: for judging, never for training.

        Raises:
            DatasetError: if there are none.
        """
        if self._states is None:
            raise DatasetError(f'{self.folder}: the dataset has no states')
        return np.array(self._states[self._rows(episodes, steps)])

    def _rows(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        return np.asarray(self._first[episodes] + steps, np.int64)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the episodes seen, unless others were given.

        Raises:
            DatasetError: if a component never changes.
        """
        if self._given_statistics is not None:
            return self._given_statistics
        used = np.concatenate(
            [np.arange(first, first + frames - 1)
             for first, frames in zip(self._first, self._frames, strict=True)]
        )  # fmt: skip
        commands = self._commands[used].reshape(-1, self._commands.shape[-1])
        low, high = commands.min(axis=0), commands.max(axis=0)
        names = self.description.action.names
        constant = [name for name, same in zip(names, low == high, strict=True) if same]
        if constant:
            raise DatasetError(
                f'{self.folder}: {", ".join(constant)} is the same in all commands, from which '
                'nothing can be learned; record motion in it, or leave the component out'
            )
        values = np.zeros((1, 0))
        if self._proprioception is not None:
            values = np.array(self._proprioception[used], np.float64)
        spread = values.std(axis=0)
        return Statistics(
            commands.mean(axis=0),
            commands.std(axis=0),
            low,
            high,
            values.mean(axis=0),
            np.where(spread > 0, spread, 1.0),
        )

    @cached_property
    def action_space(self) -> ActionSpace:
        """Action space with limits and statistics of a command; errors as `statistics`."""
        action, statistics = self.description.action, self.statistics
        return ActionSpace(
            kind=action.kind,
            names=tuple(action.names),
            units=tuple(action.units),
            low=statistics.low if action.low is None else np.array(action.low),
            high=statistics.high if action.high is None else np.array(action.high),
            mean=statistics.mean,
            std=statistics.std,
            frame_skip=self.description.frame_skip,
        )

    def split(self, fraction: float, seed: int) -> tuple[RecordedDataset, RecordedDataset]:
        """Two parts by episode: to train on, and held out.

        Args:
            fraction: of the episodes that is held out; at least one of each part.
            seed: of the choice.

        Returns:
            Both parts with the statistics of the first.

        Raises:
            DatasetError: if there is only one episode.
        """
        if self.episodes < 2:
            raise DatasetError(
                f'{self.folder}: the dataset has one episode, but some are held out to judge '
                'with; record several'
            )
        order = np.random.default_rng(seed).permutation(self.episodes)
        held_out = min(max(1, round(fraction * self.episodes)), self.episodes - 1)
        parts = np.sort(order[held_out:]), np.sort(order[:held_out])
        train = RecordedDataset(self.folder, self.chosen[parts[0]], self._given_statistics)
        return train, RecordedDataset(self.folder, self.chosen[parts[1]], train.statistics)
