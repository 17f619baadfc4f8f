"""The commands of a bag's topic, whatever type of command it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grasp_ros.bags.errors import BagError
from grasp_ros.bags.message_types import make_message, stamp_ns
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
from grasp_ros.models.action_space import ActionKind

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
    """How the first command is read, and so all others."""
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
