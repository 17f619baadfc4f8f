"""Valid messages, changed in one of many ways: in their fields, their payload, or their CDR bytes.

Of some changes it is known that the message must be refused whatever else holds; of the others
only that nothing may break.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from grasp_ros.action import ReachGoal
from grasp_ros.messages.images import CHANNELS
from grasp_ros.ros.ros_messages import compressed_message, image_message
from system.fuzz import bombs

Kind = Literal['image', 'compressed', 'goal']
Rng = np.random.Generator

HUGE = (2**31 - 1, 2**31, 2**32 - 1, 65_536, 10_000_000)
ENCODINGS = (
    '', 'RGB8', 'rgb8 ', 'rgb8\0', 'rgb', 'rgb16', 'mono16', '16UC1', '32FC1', '8UC3', 'yuv422',
    'bayer_rggb8', 'nv12', '\u202ergb8', '\U0001f916', 'encoding', 'rgb8\n' * 20_000,
)  # fmt: skip
FORMATS = (
    '', 'png', 'jpeg', 'rgb8; jpeg compressed bgr8', 'gif', 'tiff', '\0', '\u202e\n', 'x' * 100_000,
)
NUMBERS = (float('nan'), float('inf'), float('-inf'), -1.0, -1e-300)


@dataclass(frozen=True, eq=False)
class FuzzCase:
    """A message that may be anything.

    Attributes:
        name: of the change.
        message: as deserialised, or its CDR bytes, still to be deserialised.
        message_type: of the message.
        invalid: whether it must be refused.
    """

    name: str
    message: Any
    message_type: type[Any]
    invalid: bool


def mutate(kind: Kind, rgb: NDArray[np.uint8], stamp: Time, rng: Rng) -> FuzzCase:
    """Change a valid message in a way drawn at random.

    Args:
        kind: sensor_msgs/Image, sensor_msgs/CompressedImage, or a goal of ~/reach_goal.
        rgb: (h, w, 3) uint8, the picture of the valid message.
        stamp: of the valid message.
        rng: of all randomness.
    """
    message = valid(kind, rgb, stamp, rng)
    changes = {'image': IMAGE, 'compressed': COMPRESSED, 'goal': GOAL}[kind]
    name = str(rng.choice(list(changes)))
    change, invalid = changes[name]
    damaged = change(message, rng)
    content = message if damaged is None else damaged
    return FuzzCase(f'{kind}: {name}', content, type(message), invalid)


def valid(kind: Kind, rgb: NDArray[np.uint8], stamp: Time, rng: Rng) -> Any:
    """A valid message of this kind."""
    if kind == 'compressed':
        return compressed_message(rgb, stamp, 'camera', 'png' if rng.random() < 0.5 else 'jpeg')
    image = image_message(rgb, stamp, 'camera', str(rng.choice(list(CHANNELS))))
    if kind == 'goal':
        return ReachGoal.Goal(goal_image=image, tolerance=1.0, timeout=10.0)
    return image


def _set(field: str, choose: Callable[[Rng], Any]) -> Callable[[Any, Rng], None]:
    def change(message: Any, rng: Rng) -> None:
        setattr(message, field, choose(rng))

    return change


def _one_of(values: tuple[Any, ...]) -> Callable[[Rng], Any]:
    return lambda rng: values[int(rng.integers(len(values)))]


def _word(rng: Rng) -> int:
    return int(rng.integers(2**32))


def _shorter_step(message: Image, rng: Rng) -> None:
    message.step = int(rng.integers(message.step))


def _other_size(message: Image, rng: Rng) -> None:
    message.height += int(rng.integers(1, 100))


def _random_sizes(message: Image, rng: Rng) -> None:
    message.height, message.width, message.step = (int(rng.integers(300)) for _ in range(3))


def _swapped(message: Image, rng: Rng) -> None:
    message.height, message.width = message.width, message.height


def _folded(message: Image, rng: Rng) -> None:
    """One row of everything, or one column."""
    pixels = message.height * message.width
    row = rng.random() < 0.5
    message.height, message.width = (1, pixels) if row else (pixels, 1)
    message.step = len(message.data) // message.height


def _truncated(message: Any, rng: Rng) -> None:
    message.data = message.data[: int(rng.integers(len(message.data)))]


def _extended(message: Any, rng: Rng) -> None:
    message.data = message.data + array('B', rng.bytes(int(rng.integers(1, 5000))))


def _noise(message: Any, rng: Rng) -> None:
    message.data = array('B', rng.bytes(len(message.data)))


def _ahead(message: Any, rng: Rng) -> None:
    message.header.stamp.sec = int(rng.choice([2**31 - 1, message.header.stamp.sec + 1]))


def _odd_stamp(message: Any, rng: Rng) -> None:
    stamp = message.header.stamp
    stamp.sec = int(rng.choice([-(2**31), -1, 0, 1, stamp.sec - 1, stamp.sec]))
    stamp.nanosec = int(rng.choice([0, 1, 2**32 - 1, stamp.nanosec]))


def _odd_frame(message: Any, rng: Rng) -> None:
    message.header.frame_id = _one_of(FORMATS)(rng)


def _flipped(message: CompressedImage, rng: Rng) -> None:
    message.data = array('B', flip(bytes(message.data), rng))


def _spliced(message: CompressedImage, rng: Rng) -> None:
    """Some of its bytes over others, as by a faulty copy."""
    data = bytearray(message.data)
    length = int(rng.integers(1, len(data)))
    source, target = (int(rng.integers(len(data) - length + 1)) for _ in range(2))
    data[target : target + length] = data[source : source + length]
    message.data = array('B', bytes(data))


def _header_only(message: CompressedImage, rng: Rng) -> None:
    message.data = message.data[: int(rng.integers(1, 12))]


def _random_bytes(message: CompressedImage, rng: Rng) -> None:
    start = (b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'II*\x00', b'RIFF', b'BM', b'P6', b'GIF89a')
    content = start[int(rng.integers(len(start)))] + rng.bytes(int(rng.integers(300)))
    message.data = array('B', content)


def _bomb(message: CompressedImage, rng: Rng) -> None:
    message.data = array('B', _bombs()[int(rng.integers(len(_bombs())))])


@lru_cache
def _bombs() -> tuple[bytes, ...]:
    plain = compressed_message(np.zeros((8, 8, 3), np.uint8), Time(), '')
    return (
        bombs.png_bomb(), bombs.jpeg_bomb(bytes(plain.data)), bombs.ppm_bomb(), bombs.bmp_bomb(),
        bombs.tiff_bomb(), bombs.webp_bomb(),
    )  # fmt: skip


def flip(data: bytes, rng: Rng) -> bytes:
    """A few bytes replaced, at least one."""
    changed = bytearray(data)
    for place in rng.integers(len(data), size=int(rng.integers(1, 8))):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


def _cdr(message: Any, rng: Rng) -> bytes:
    """The serialised message, damaged."""
    data = bytes(serialize_message(message))
    way = int(rng.integers(5))
    if way == 0:
        return data[: int(rng.integers(len(data)))]
    if way == 1:
        return data + rng.bytes(int(rng.integers(1, 100)))
    head = min(len(data), 120)  # where lengths and numbers are; the rest is pixels
    if way == 2:
        return flip(data[:head], rng) + data[head:]
    if way == 3:
        place = 4 * int(rng.integers(head // 4))
        word = int(rng.choice([0, 1, 2**31, 2**32 - 1, _word(rng)]))
        return data[:place] + word.to_bytes(4, 'little') + data[place + 4 :]
    return rng.bytes(int(rng.integers(200)))


def _in_goal(change: Callable[[Any, Rng], Any]) -> Callable[[Any, Rng], None]:
    def changed(message: ReachGoal.Goal, rng: Rng) -> None:
        change(message.goal_image, rng)

    return changed


Change = tuple[Callable[[Any, Rng], Any], bool]

PICTURE: dict[str, Change] = {
    'height 0': (_set('height', lambda rng: 0), True),
    'width 0': (_set('width', lambda rng: 0), True),
    'step 0': (_set('step', lambda rng: 0), True),
    'step too short': (_shorter_step, True),
    'height too large': (_other_size, True),
    'huge height': (_set('height', _one_of(HUGE)), True),
    'huge width': (_set('width', _one_of(HUGE)), True),
    'huge step': (_set('step', _one_of(HUGE)), True),
    'random sizes': (_random_sizes, False),
    'height and width swapped': (_swapped, False),
    'one row or column': (_folded, False),
    'odd encoding': (_set('encoding', _one_of(ENCODINGS)), True),
    'other encoding': (_set('encoding', _one_of(tuple(CHANNELS))), False),
    'endianness': (_set('is_bigendian', lambda rng: int(rng.integers(256))), False),
    'data truncated': (_truncated, True),
    'data extended': (_extended, True),
    'noise': (_noise, False),
    'odd frame': (_odd_frame, False),
    'odd stamp': (_odd_stamp, False),
}
IMAGE: dict[str, Change] = {**PICTURE, 'stamp ahead': (_ahead, True), 'damaged CDR': (_cdr, False)}
COMPRESSED: dict[str, Change] = {
    'empty': (_set('data', lambda rng: array('B')), True),
    'header only': (_header_only, True),
    'random bytes': (_random_bytes, False),
    'truncated': (_truncated, False),
    'extended': (_extended, False),
    'bytes flipped': (_flipped, False),
    'bytes copied': (_spliced, False),
    'bomb': (_bomb, True),
    'odd format': (_set('format', _one_of(FORMATS)), False),
    'depth': (_set('format', lambda rng: '16UC1; compressedDepth png'), True),
    'odd frame': (_odd_frame, False),
    'odd stamp': (_odd_stamp, False),
    'stamp ahead': (_ahead, True),
    'damaged CDR': (_cdr, False),
}
GOAL: dict[str, Change] = {
    **{name: (_in_goal(change), invalid) for name, (change, invalid) in PICTURE.items()},
    'odd tolerance': (_set('tolerance', _one_of(NUMBERS)), True),
    'odd timeout': (_set('timeout', _one_of(NUMBERS)), True),
    'huge numbers': (_set('tolerance', _one_of((1e308, 5e-324, 0.0))), False),
    'damaged CDR': (_cdr, False),
}
