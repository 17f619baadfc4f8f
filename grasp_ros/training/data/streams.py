"""Streams of a bag in the order of time: commands, images, proprioception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from grasp_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, BagError, make_message, stamp_ns
from grasp_ros.bags.reader import BagReader, Recorded
from grasp_ros.messages.commands import (
    ARRAY,
    COMMAND_TYPES,
    JOINT_TRAJECTORY,
    TWIST,
    TWIST_FIELDS,
    TWIST_STAMPED,
    CommandLayout,
)
from grasp_ros.messages.images import ImageError, lazy_decoder, to_model_input
from grasp_ros.messages.proprioception import (
    JOINT_STATE,
    PROPRIOCEPTION_TYPES,
    ProprioceptionError,
    ProprioceptionLayout,
)
from grasp_ros.models.action_space import ActionKind
from grasp_ros.models.manifest import ImagePipeline
from grasp_ros.training.data.dataset import GrowingArray

STAMPED = (TWIST_STAMPED, JOINT_TRAJECTORY)
DEFAULT_KINDS = {
    TWIST: ActionKind.VELOCITY,
    TWIST_STAMPED: ActionKind.VELOCITY,
    JOINT_TRAJECTORY: ActionKind.POSITION,
}


@dataclass(frozen=True, eq=False)
class CommandStream:
    """Commands in the order of their times.

    Attributes:
        type_name: of the messages.
        kind: what a command is.
        names: of the R components.
        times_ns: (C,).
        values: (C, R).
    """

    type_name: str
    kind: ActionKind
    names: tuple[str, ...]
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


def read_commands(
    bag: BagReader, topic: str, names: Sequence[str], kind: ActionKind | None, by_stamp: bool
) -> CommandStream:
    """Read all commands of a bag.

    Args:
        bag: to read.
        topic: where the commands are.
        names: components to read, as `linear.x` or a joint; empty for all.
        kind: what a command is; None for what is usual for the type.
        by_stamp: whether times are those of the messages' headers, where they have such, or of
            the recording.

    Raises:
        BagError: if the topic is missing or of another type, a component does not exist, or the
            kind must be told.
    """
    name = bag.require(topic, COMMAND_TYPES, '--action-topic')
    type_name = bag.topics[name][0]
    kind = kind or DEFAULT_KINDS.get(type_name)
    if kind is None:
        raise BagError(
            f'{bag.path}: {name} holds numbers of any kind; say with --action-kind whether they '
            f'are {", ".join(k.value for k in ActionKind)}'
        )
    by_stamp = by_stamp and type_name in STAMPED
    layout: CommandLayout | None = None
    times, values = [], []
    for item in bag.messages([name]):
        try:
            layout = layout or _layout(item, names, kind)
            values.append(layout.decode(item.message))
        except (ValueError, IndexError) as error:
            raise BagError(f'{bag.path}: {name} at {item.time_ns} ns: {error}') from error
        times.append(item.time_ns if not by_stamp else stamp_ns(item.message) or item.time_ns)
    assert layout is not None
    found, chosen = _choose(bag, name, np.stack(values), layout, names)
    order = np.argsort(times, kind='stable')
    return CommandStream(type_name, kind, chosen, np.array(times, np.int64)[order], found[order])


def _layout(item: Recorded, names: Sequence[str], kind: ActionKind) -> CommandLayout:
    """Layout of the first command, and so of all others."""
    if item.type_name == ARRAY:
        size = len(item.message.data)
        return CommandLayout(ARRAY, kind, size, 1.0, make=make_message)
    if item.type_name == JOINT_TRAJECTORY:
        known = list(item.message.joint_names)
        return CommandLayout(
            JOINT_TRAJECTORY, kind, len(known), 1.0, joint_names=known, make=make_message
        )
    fields = tuple(names) or TWIST_FIELDS
    return CommandLayout(item.type_name, kind, len(fields), 1.0, fields=fields, make=make_message)


def _choose(
    bag: BagReader,
    topic: str,
    values: NDArray[np.float64],
    layout: CommandLayout,
    names: Sequence[str],
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The components that are asked for; numbers of an array have no names but those given."""
    if layout.command_type == ARRAY:
        own = tuple(names) or tuple(f'number_{index}' for index in range(values.shape[1]))
        if len(own) != values.shape[1]:
            raise BagError(
                f'{bag.path}: {topic} has {values.shape[1]} numbers, but --action-names gives '
                f'{len(own)} names'
            )
        return values, own
    known = list(layout.fields or layout.joint_names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BagError(
            f'{bag.path}: {topic} has no {", ".join(unknown)} (--action-names); it has '
            f'{", ".join(known)}'
        )
    chosen = tuple(names) or tuple(known)
    return values[:, [known.index(name) for name in chosen]], chosen


MAX_DISORDER_NS = 10**9


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Images in the order of their times.

    Attributes:
        times_ns: (I,), rising.
        rows: (I,) where each is in the file.
        file: (.., h, w, 3) uint8, memory-mapped.
        refused: images that could not be decoded, or had the time of another.
        reason: of the first that could not be decoded; empty for none.
    """

    times_ns: NDArray[np.int64]
    rows: NDArray[np.int64]
    file: NDArray[np.uint8]
    refused: int
    reason: str

    def images(self, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (F, h, w, 3) of these numbers."""
        return np.array(self.file[self.rows[frames]])


def read_images(
    bag: BagReader, topic: str, pipeline: ImagePipeline, by_stamp: bool, path: Path
) -> ImageStream:
    """Read all images of a bag.

    Args:
        bag: to read.
        topic: of the camera.
        pipeline: size of the images, and how they are brought to it.
        by_stamp: whether times are those of the messages' headers, or of the recording.
        path: file that the images are kept in.

    Raises:
        BagError: if the topic is missing or of another type, no image can be decoded, or time
            jumps back.
    """
    name = bag.require(topic, (IMAGE, COMPRESSED_IMAGE), '--image-topic')
    size = (pipeline.height, pipeline.width)
    kept = GrowingArray(path, np.uint8, (*size, 3))
    times: list[int] = []
    refused, reason = 0, ''
    messages = tqdm(
        bag.messages([name]), desc=bag.path.name, total=bag.topics[name][1], unit='image'
    )
    for item in messages:
        try:
            rgb = lazy_decoder(item.message, item.type_name == COMPRESSED_IMAGE)()
        except ImageError as error:
            refused, reason = refused + 1, reason or str(error)
            continue
        kept.append(_resized(rgb, pipeline)[None])
        times.append(item.time_ns if not by_stamp else stamp_ns(item.message) or item.time_ns)
    kept.close()
    if not times:
        raise BagError(f'{bag.path}: no image on {name} can be decoded: {reason}')
    found = np.array(times, np.int64)
    if (np.maximum.accumulate(found) - found).max() > MAX_DISORDER_NS:
        raise BagError(
            f'{bag.path}: the time of {name} jumps back; cut the bag there, or use the time of '
            'the recording with --clock log'
        )
    rising, rows = np.unique(found, return_index=True)
    file = np.asarray(np.lib.format.open_memmap(path, mode='r'))
    return ImageStream(rising, rows, file, refused + len(found) - len(rising), reason)


def _resized(rgb: NDArray[np.uint8], pipeline: ImagePipeline) -> NDArray[np.uint8]:
    """Image resized as the node does it."""
    if rgb.shape[:2] == (pipeline.height, pipeline.width):
        return rgb
    scaled = to_model_input(rgb, pipeline.height, pipeline.width, pipeline.fit)
    return np.rint(scaled.transpose(1, 2, 0) * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ProprioceptionStream:
    """Proprioception in the order of its times.

    Attributes:
        names: of the Q components.
        times_ns: (M,).
        values: (M, Q), finite.
    """

    names: tuple[str, ...]
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]

    def nearest(
        self, times_ns: NDArray[np.int64], tolerance_ns: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Proprioception nearest to each time.

        Returns:
            Values (T, Q), and whether they are within the tolerance (T,).
        """
        after = np.searchsorted(self.times_ns, times_ns).clip(1, max(1, len(self.times_ns) - 1))
        before = after - 1
        after = np.minimum(after, len(self.times_ns) - 1)
        earlier = np.abs(times_ns - self.times_ns[before])
        later = np.abs(self.times_ns[after] - times_ns)
        chosen = np.where(earlier <= later, before, after)
        return (
            self.values[chosen].astype(np.float32),
            np.minimum(earlier, later) <= tolerance_ns,
        )


def read_proprioception(
    bag: BagReader, topic: str, names: Sequence[str], by_stamp: bool
) -> ProprioceptionStream:
    """Read all proprioception of a bag.

    Args:
        bag: to read.
        topic: where it is.
        names: components to read, as `position.wrist`; empty for the positions of all joints, or
            all numbers of an array.
        by_stamp: whether times are those of the messages' headers, where they have such, or of
            the recording.

    Raises:
        BagError: if the topic is missing or of another type, or a component does not exist.
    """
    name = bag.require(topic, PROPRIOCEPTION_TYPES, '--proprioception-topic')
    type_name = bag.topics[name][0]
    by_stamp = by_stamp and type_name != ARRAY
    layout: ProprioceptionLayout | None = None
    times, values = [], []
    for item in bag.messages([name]):
        try:
            layout = layout or ProprioceptionLayout(
                type_name, tuple(names) or _all_names(type_name, item.message)
            )
            decoded = layout.decode(item.message)
        except (ProprioceptionError, ValueError) as error:
            raise BagError(f'{bag.path}: {name} at {item.time_ns} ns: {error}') from error
        if np.isfinite(decoded).all():
            values.append(decoded)
            times.append(item.time_ns if not by_stamp else stamp_ns(item.message) or item.time_ns)
    if layout is None or not values:
        raise BagError(f'{bag.path}: {name} holds no finite proprioception')
    order = np.argsort(times, kind='stable')
    return ProprioceptionStream(
        layout.names, np.array(times, np.int64)[order], np.stack(values)[order]
    )


def _all_names(type_name: str, message: object) -> tuple[str, ...]:
    if type_name == JOINT_STATE:
        return tuple(f'position.{joint}' for joint in message.name)  # type: ignore[attr-defined]
    if type_name == ARRAY:
        count = len(message.data)  # type: ignore[attr-defined]
        return tuple(f'number_{index}' for index in range(count))
    raise ValueError('say with --proprioception-names what to read, as linear.x')
