"""Message types of bags: those of ROS 2 that `rosbags` knows, and ours from their .msg texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

import grasp_ros

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
STATUS = 'grasp_ros/msg/PlanStatus'
PLAN = 'grasp_ros/msg/ActionPlan'

_NUMPY_NAMES = {'bool': 'bool', 'byte': 'uint8', 'char': 'uint8'}


def message_texts() -> dict[str, str]:
    """The .msg texts of this package by type name, from the checkout or from what is installed.

    Raises:
        BagError: if they are nowhere.
    """
    for package in map(Path, grasp_ros.__path__):
        for parent in package.parents:
            for folder in (parent / 'msg', parent / 'share' / 'grasp_ros' / 'msg'):
                if (folder / 'PlanStatus.msg').is_file():
                    return {
                        f'grasp_ros/msg/{path.stem}': path.read_text()
                        for path in sorted(folder.glob('*.msg'))
                    }
    raise BagError('the .msg files of grasp_ros are not installed; install the package again')


def new_typestore(definitions: Mapping[str, str] | None = None) -> Typestore:
    """A store of the types of ROS 2 Kilted and of this package.

    Args:
        definitions: texts by type name that go before this package's, as a bag carries them: the
            bag may have been recorded with an older version.

    Raises:
        BagError: if a definition cannot be parsed.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for name, text in {**message_texts(), **(definitions or {})}.items():
        try:
            types = get_types_from_msg(text, name)
            store.register({key: types[key] for key in types if key not in store.fielddefs})
        except Exception as error:  # the library's parser has errors of many kinds
            raise BagError(f'the definition of {name} cannot be used: {error}') from error
    return store


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The store for messages that this package writes."""
    return new_typestore()


def make_message(name: str, /, **fields: Any) -> Any:
    """Make a message of `rosbags`; lists of numbers become arrays, fields left out become zero.

    Args:
        name: as 'geometry_msgs/msg/Twist'.
        fields: by name, messages or plain values.
    """
    store = typestore()
    return store.types[name](
        **{
            field: _value(store, kind, fields[field]) if field in fields else _zero(store, kind)
            for field, kind in store.fielddefs[name][1]
        }
    )


def time_message(ns: int) -> Any:
    """A builtin_interfaces/Time of nanoseconds."""
    seconds, nanoseconds = divmod(ns, 10**9)
    return make_message('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)


def header(ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    return make_message('std_msgs/msg/Header', stamp=time_message(ns), frame_id=frame_id)


def stamp_ns(message: Any) -> int:
    """Nanoseconds of a message's header."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _value(store: Typestore, kind: Any, value: Any) -> Any:
    node, detail = kind
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        element = detail[0]
        if element[0] == Nodetype.BASE and element[1][0] != 'string':
            return np.asarray(value, _numpy_name(element))
    return value


def _zero(store: Typestore, kind: Any) -> Any:
    """The value of a field that nobody gave, as ROS initialises it."""
    node, detail = kind
    if node == Nodetype.NAME:
        return make_message(detail)
    if node == Nodetype.BASE:
        return '' if detail[0] == 'string' else np.zeros((), _numpy_name(kind))[()].item()
    element, length = detail
    count = length if node == Nodetype.ARRAY else 0
    if element[0] == Nodetype.BASE and element[1][0] != 'string':
        return np.zeros(count, _numpy_name(element))
    return [_zero(store, element) for _ in range(count)]


def _numpy_name(kind: Any) -> str:
    name = kind[1][0]
    return _NUMPY_NAMES.get(name, name)


class BagError(Exception):
    """A bag cannot be read or written; the message names the file and the way out."""
