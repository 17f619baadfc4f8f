"""Messages to plain data and back: pictures, times and commands."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray, Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from grasp_ros.images import (
    RawImage,
    check_compressed,
    check_raw,
    decode_compressed,
    decode_raw,
    encode_compressed,
    encode_raw,
)

if TYPE_CHECKING:  # it imports torch, which the commands and the simulated robot do without
    from grasp_ros.core.types import ActionKind

NANOSECONDS = 10**9

COMMAND_TYPES: dict[str, type[Any]] = {
    'geometry_msgs/msg/TwistStamped': TwistStamped,
    'geometry_msgs/msg/Twist': Twist,
    'trajectory_msgs/msg/JointTrajectory': JointTrajectory,
    'std_msgs/msg/Float64MultiArray': Float64MultiArray,
}
TWIST_FIELDS = tuple(f'{part}.{axis}' for part in ('linear', 'angular') for axis in 'xyz')

_JOINT_FIELDS = {
    'position': 'positions',
    'velocity': 'velocities',
    'effort': 'effort',
}


def stamp_ns(time: Time) -> int:
    """Nanoseconds of a message's time."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def time_message(ns: int) -> Time:
    """A message's time from nanoseconds.

    Raises:
        ValueError: if the seconds do not fit into the message's 32 bits.
    """
    seconds, nanoseconds = divmod(ns, NANOSECONDS)
    if not -(2**31) <= seconds < 2**31:
        raise ValueError(f'{ns} ns do not fit into builtin_interfaces/Time')
    return Time(sec=seconds, nanosec=nanoseconds)


def image_decoder(message: Image | CompressedImage) -> Callable[[], NDArray[np.uint8]]:
    """Check a picture's header now, leave the decoding to whoever calls the result.

    Returns:
        A function that gives the picture as (h, w, 3) uint8 RGB, or raises ImageError where the
        compressed data turns out to be corrupt. It keeps the message's data, not the message.

    Raises:
        ImageError: if the header shows already that the picture cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        data, format = message.data, message.format
        check_compressed(data, format)
        return lambda: decode_compressed(data, format)
    raw = RawImage(message.data, message.height, message.width, message.step, message.encoding)
    check_raw(raw)
    return lambda: decode_raw(raw)


def image_message(
    rgb: NDArray[np.uint8], stamp: Time, frame_id: str, encoding: str = 'rgb8'
) -> Image:
    """An uncompressed image message.

    Args:
        rgb: (h, w, 3) uint8.
        stamp: time of acquisition.
        frame_id: of the camera.
        encoding: rgb8, bgr8, rgba8, bgra8 or mono8.

    Raises:
        ImageError: if the encoding is not supported, or `rgb` has another shape or type.
    """
    raw = encode_raw(rgb, encoding)
    return Image(
        header=Header(stamp=stamp, frame_id=frame_id),
        height=raw.height,
        width=raw.width,
        encoding=raw.encoding,
        is_bigendian=0,
        step=raw.step,
        data=array('B', bytes(raw.data)),
    )


def compressed_message(
    rgb: NDArray[np.uint8], stamp: Time, frame_id: str, format: Literal['jpeg', 'png'] = 'jpeg'
) -> CompressedImage:
    """A compressed image message; arguments and errors as `image_message`."""
    return CompressedImage(
        header=Header(stamp=stamp, frame_id=frame_id),
        format=format,
        data=array('B', encode_compressed(rgb, format)),
    )


@dataclass(frozen=True)
class CommandEncoder:
    """Builds command messages; checked on construction, so that `encode` cannot fail later.

    Attributes:
        command_type: `command.type`, one of `COMMAND_TYPES`.
        kind: what the actions command.
        size: components R of one command.
        period_s: of the commands, in seconds; JointTrajectory points are to be reached by then.
        fields: `command.fields`, R of `TWIST_FIELDS`; used for twists only.
        joint_names: `command.joint_names`, R names; used for JointTrajectory only.
        frame_id: `command.frame_id`, for the types that have a header.
    """

    command_type: str
    kind: ActionKind
    size: int
    period_s: float
    fields: Sequence[str] = ()
    joint_names: Sequence[str] = ()
    frame_id: str = ''

    def __post_init__(self) -> None:
        if self.command_type not in COMMAND_TYPES:
            raise ValueError(
                f'command.type is {self.command_type!r}; it must be one of '
                f'{", ".join(COMMAND_TYPES)}'
            )
        if self.message_type in (Twist, TwistStamped):
            self._check_names('command.fields', self.fields)
            unknown = [field for field in self.fields if field not in TWIST_FIELDS]
            if unknown:
                raise ValueError(
                    f'command.fields: a twist has no {", ".join(map(repr, unknown))}; it has '
                    f'{", ".join(TWIST_FIELDS)}'
                )
            if self.kind.value == 'position':
                raise ValueError(
                    f'command.type is {self.command_type!r}, but the model commands positions, '
                    'whose stop is to hold the last one: as a twist the robot would never stop. '
                    'Use trajectory_msgs/msg/JointTrajectory or std_msgs/msg/Float64MultiArray'
                )
        if self.message_type is JointTrajectory:
            self._check_names('command.joint_names', self.joint_names)
            if self.kind.value not in _JOINT_FIELDS:
                raise ValueError(
                    f'command.type is {self.command_type!r}, but the model commands '
                    f'{self.kind.value} actions: controllers take the positions of a trajectory as '
                    'absolute, and the stop, zero, would drive every joint to zero. Use '
                    'std_msgs/msg/Float64MultiArray'
                )
            if not 0.0 < self.period_s < 2**31:
                raise ValueError(f'the command period must be positive, not {self.period_s} s')

    @property
    def message_type(self) -> type[Any]:
        """Class of the messages that `encode` makes."""
        return COMMAND_TYPES[self.command_type]

    def encode(self, values: NDArray[np.float64], stamp: Time) -> Any:
        """Build the message for one command.

        Args:
            values: (R,) in physical units (REP-103).
            stamp: time of the command, for the types that have a header.

        Returns:
            A message of `message_type`. JointTrajectory has one point: positions, velocities or
            effort, as the kind of action says.

        Raises:
            ValueError: if `values` has another shape.
        """
        if values.shape != (self.size,):
            raise ValueError(f'a command has the shape ({self.size},), not {values.shape}')
        numbers = [float(value) for value in values]
        header = Header(stamp=stamp, frame_id=self.frame_id)
        if self.message_type is Twist:
            return self._twist(numbers)
        if self.message_type is TwistStamped:
            return TwistStamped(header=header, twist=self._twist(numbers))
        if self.message_type is JointTrajectory:
            return JointTrajectory(
                header=header, joint_names=list(self.joint_names), points=[self._point(numbers)]
            )
        return Float64MultiArray(data=numbers)

    def _check_names(self, parameter: str, names: Sequence[str]) -> None:
        if len(names) != self.size:
            raise ValueError(
                f'{parameter} has {len(names)} entries ({", ".join(names) or "none"}), but the '
                f"model's actions have {self.size} components"
            )
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f'{parameter}: each entry must be there once, got {", ".join(names)}')

    def _twist(self, numbers: list[float]) -> Twist:
        twist = Twist()
        for field, number in zip(self.fields, numbers, strict=True):
            part, axis = field.split('.')
            setattr(getattr(twist, part), axis, number)
        return twist

    def _point(self, numbers: list[float]) -> JointTrajectoryPoint:
        seconds, nanoseconds = divmod(round(self.period_s * NANOSECONDS), NANOSECONDS)
        point = JointTrajectoryPoint(time_from_start=Duration(sec=seconds, nanosec=nanoseconds))
        setattr(point, _JOINT_FIELDS[self.kind.value], numbers)
        return point
