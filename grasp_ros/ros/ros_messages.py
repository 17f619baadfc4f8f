"""Messages to plain data and back: images, times and commands."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray, Header, MultiArrayLayout
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from grasp_ros.control.types import NANOSECONDS
from grasp_ros.messages.images import encode_compressed, encode_raw, lazy_decoder, quoted
from grasp_ros.msg import ActionPlan

if TYPE_CHECKING:  # it imports torch, which the commands and the simulated robot do without
    from grasp_ros.control.planning_loop import PlanReport

MESSAGE_TYPES: dict[str, type[Any]] = {
    'builtin_interfaces/msg/Duration': Duration,
    'geometry_msgs/msg/Twist': Twist,
    'geometry_msgs/msg/TwistStamped': TwistStamped,
    'geometry_msgs/msg/Vector3': Vector3,
    'std_msgs/msg/Float64MultiArray': Float64MultiArray,
    'std_msgs/msg/Header': Header,
    'std_msgs/msg/MultiArrayLayout': MultiArrayLayout,
    'trajectory_msgs/msg/JointTrajectory': JointTrajectory,
    'trajectory_msgs/msg/JointTrajectoryPoint': JointTrajectoryPoint,
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
    """Check an image's header now, leave the decoding to whoever calls the result.

    Returns:
        A function that gives the image as (h, w, 3) uint8 RGB, or raises ImageError where the
        compressed data turns out to be corrupt. It keeps the message's data, not the message.

    Raises:
        ImageError: if the header shows already that the image cannot be decoded.
    """
    return lazy_decoder(message, isinstance(message, CompressedImage))


def image_kind(message: Image | CompressedImage) -> str:
    """Size and encoding of an image, or its format where it is compressed, for people."""
    if isinstance(message, CompressedImage):
        return f'format {quoted(message.format)}'
    return f'{message.width} x {message.height} in {message.encoding}'


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


def message_class(type_name: str) -> type[Any] | None:
    """The class of a type as 'sensor_msgs/msg/Image', or None where it is not installed."""
    package, _, name = type_name.split('/')
    try:
        found: type[Any] | None = getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ImportError:
        return None
    return found


def make_message(name: str, /, **fields: Any) -> Any:
    """A message of one of `MESSAGE_TYPES`."""
    return MESSAGE_TYPES[name](**fields)


def plan_message(report: PlanReport, fields: dict[str, Any], frame_id: str) -> ActionPlan:
    """The plan of a report with one; `fields` are those of `messages.status.plan_fields`."""
    assert report.timed is not None
    return ActionPlan(
        header=Header(stamp=time_message(report.timed.start_ns), frame_id=frame_id),
        observation_stamp=time_message(report.timed.observation_stamp_ns),
        **fields,
    )
