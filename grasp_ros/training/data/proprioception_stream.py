"""The proprioception of a bag's topic, and which of it belongs to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.errors import BagError
from grasp_ros.bags.message_types import stamp_ns
from grasp_ros.bags.reader import BagReader
from grasp_ros.messages.proprioception import (
    ARRAY,
    JOINT_STATE,
    PROPRIOCEPTION_TYPES,
    ProprioceptionError,
    ProprioceptionLayout,
)


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
        """What was felt nearest to each time.

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
            felt = layout.decode(item.message)
        except (ProprioceptionError, ValueError) as error:
            raise BagError(f'{bag.path}: {name} at {item.time_ns} ns: {error}') from error
        if np.isfinite(felt).all():
            values.append(felt)
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
