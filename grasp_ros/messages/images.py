"""Camera images: from encodings, row steps and compression to RGB and to a model's input."""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Bytes = Union[bytes, bytearray, memoryview, 'array[int]']

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
MAX_PIXELS = 64_000_000
"""Images of more pixels are refused before anything is allocated for them."""
MAX_NAME_LENGTH = 60
"""Of an encoding or a format in messages for people: whoever sends an image chooses it."""

_TO_RGB = {
    'bgr8': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'mono8': cv2.COLOR_GRAY2RGB,
}
_FROM_RGB = {
    'bgr8': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGB2RGBA,
    'bgra8': cv2.COLOR_RGB2BGRA,
    'mono8': cv2.COLOR_RGB2GRAY,
}
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_OTHER_FORMATS = ('BMP', 'PPM', 'TIFF')


class ImageError(ValueError):
    """An image cannot be used; the message names the fault."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """An uncompressed image as it travels.

    Attributes:
        data: `height` rows of `step` bytes each.
        height: rows.
        width: pixels in a row.
        step: bytes from one row to the next; those after the pixels are padding.
        encoding: order and number of the 8-bit channels, as 'rgb8'.
    """

    data: Bytes
    height: int
    width: int
    step: int
    encoding: str


def check_raw(image: RawImage) -> None:
    """Check everything but the pixels, in constant time.

    Raises:
        ImageError: if the encoding is not supported, size, step and length of the data do not
            agree, or there are more than `MAX_PIXELS` pixels.
    """
    channels = CHANNELS.get(image.encoding)
    if channels is None:
        raise ImageError(
            f'encoding {quoted(image.encoding)} is not supported; supported are '
            f'{", ".join(CHANNELS)}'
        )
    if image.height <= 0 or image.width <= 0:
        raise ImageError(f'the image is empty: {image.width} x {image.height} pixels')
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f'the image has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS}'
        )
    if image.step < image.width * channels:
        raise ImageError(
            f'step is {image.step} bytes, but a row of {image.width} pixels in {image.encoding} '
            f'has {image.width * channels}'
        )
    length, expected = memoryview(image.data).nbytes, image.step * image.height
    if length != expected:
        raise ImageError(
            f'data has {length} bytes, but {image.height} rows with a step of {image.step} '
            f'have {expected}'
        )


def decode_raw(image: RawImage) -> NDArray[np.uint8]:
    """Decode to RGB.

    Returns:
        (h, w, 3) uint8, contiguous, not sharing memory with the image's data.

    Raises:
        ImageError: as `check_raw`.
    """
    check_raw(image)
    channels = CHANNELS[image.encoding]
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    pixels = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    if image.encoding == 'rgb8':
        return pixels.copy()
    return _uint8(cv2.cvtColor(pixels, _TO_RGB[image.encoding]))


def lazy_decoder(message: Any, compressed: bool) -> Callable[[], NDArray[np.uint8]]:
    """Check an image's header now, leave the decoding to whoever calls the result.

    Args:
        message: with the fields of sensor_msgs/Image, or of CompressedImage.
        compressed: which of the two.

    Returns:
        A function that gives the image as (h, w, 3) uint8 RGB, or raises ImageError where the
        compressed data turns out to be corrupt. It keeps the message's data, not the message.

    Raises:
        ImageError: if the header shows already that the image cannot be decoded.
    """
    if compressed:
        data, format = message.data, message.format
        check_compressed(data, format)
        return lambda: decode_compressed(data, format)
    raw = RawImage(message.data, message.height, message.width, message.step, message.encoding)
    check_raw(raw)
    return lambda: decode_raw(raw)


def encode_raw(rgb: NDArray[np.uint8], encoding: str = 'rgb8') -> RawImage:
    """Encode without row padding; mono8 holds the luma of ITU-R BT.601, alpha is opaque.

    Args:
        rgb: (h, w, 3) uint8.
        encoding: one of `CHANNELS`.

    Raises:
        ImageError: if the encoding is not supported, or `rgb` has another shape or type.
    """
    _check_rgb(rgb)
    if encoding not in CHANNELS:
        raise ImageError(
            f'encoding {encoding!r} is not supported; supported are {", ".join(CHANNELS)}'
        )
    pixels = rgb if encoding == 'rgb8' else cv2.cvtColor(rgb, _FROM_RGB[encoding])
    height, width = rgb.shape[:2]
    return RawImage(pixels.tobytes(), height, width, width * CHANNELS[encoding], encoding)


def check_compressed(data: Bytes, format: str = '') -> None:
    """Check what can be seen without decompressing: that there is data, complete and not too big.

    The size is read from the header; what is none of JPEG, PNG, BMP, PPM, TIFF and WebP is refused
    even if OpenCV could decode it.

    Args:
        data: the compressed image.
        format: as in sensor_msgs/CompressedImage, for the error messages.

    Raises:
        ImageError: if the data is empty, truncated, of another format or not a colour image, or
            has more than `MAX_PIXELS` pixels.
    """
    if 'compressedDepth' in format:
        raise ImageError(
            f'format {quoted(format)} is a depth image; JPEG or PNG in colour is needed'
        )
    content = bytes(data)
    if not content:
        raise ImageError(f'the compressed image (format {quoted(format)}) is empty')
    if content.startswith(_PNG_SIGNATURE):
        width, height = _png_size(content)
    elif content.startswith(b'\xff\xd8'):
        width, height = _jpeg_size(content)
    elif content.startswith(b'RIFF') and content[8:12] == b'WEBP':
        width, height = _webp_size(content)
    else:
        width, height = _other_size(content, format)
    if width == 0 or height == 0:
        raise ImageError(f'the image is empty: {width} x {height} pixels')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'the compressed image has {width} x {height} pixels; the limit is {MAX_PIXELS}'
        )


def decode_compressed(data: Bytes, format: str = '') -> NDArray[np.uint8]:
    """Decode JPEG, PNG, BMP, PPM, TIFF or WebP to RGB.

    Args:
        data: the compressed image.
        format: as in sensor_msgs/CompressedImage, for the error messages.

    Returns:
        (h, w, 3) uint8, contiguous; grey images in three equal channels, alpha dropped, deeper
        channels reduced to 8 bits.

    Raises:
        ImageError: as `check_compressed`, or if OpenCV cannot decode the data.
    """
    check_compressed(data, format)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise _undecodable(data, format)
    return _uint8(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file to (h, w, 3) uint8 RGB.

    Raises:
        ImageError: naming the file, if it cannot be read or is no image.
    """
    try:
        return decode_compressed(path.read_bytes(), path.suffix)
    except OSError as error:
        raise ImageError(f'{path}: cannot be read: {error.strerror}') from error
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error


def quoted(name: str) -> str:
    """A name that came with an image, for people: control characters escaped, and not too long."""
    return repr(name) if len(name) <= MAX_NAME_LENGTH else f'{name[:MAX_NAME_LENGTH]!r}...'


def encode_compressed(rgb: NDArray[np.uint8], format: Literal['jpeg', 'png'] = 'jpeg') -> bytes:
    """Compress an image (h, w, 3) uint8 to JPEG (quality 95) or, without loss, to PNG.

    Raises:
        ImageError: if the format is another, or `rgb` has another shape or type.
    """
    _check_rgb(rgb)
    if format not in ('jpeg', 'png'):
        raise ImageError(f"format {format!r} is not supported; supported are 'jpeg' and 'png'")
    extension = '.jpg' if format == 'jpeg' else '.png'
    try:
        done, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        done, reason = False, str(error).strip()
    else:
        reason = 'OpenCV gives no reason'
    if not done:
        raise ImageError(f'{rgb.shape[1]} x {rgb.shape[0]} pixels as {format}: {reason}')
    return data.tobytes()


def to_model_input(
    rgb: NDArray[np.uint8], height: int, width: int, fit: Literal['stretch', 'crop'] = 'stretch'
) -> NDArray[np.float32]:
    """Bring an image to the size a model was trained with.

    An axis that shrinks is averaged over areas, one that grows is interpolated linearly; a
    image of the right size is not resampled.

    Args:
        rgb: (h, w, 3) uint8.
        height: rows of the result.
        width: columns of the result.
        fit: 'stretch' changes the aspect ratio; 'crop' cuts equal margins off the longer side.

    Returns:
        (3, height, width) float32 in [0, 1], contiguous.

    Raises:
        ImageError: if `rgb` has another shape or type.
        ValueError: if the size is not positive or `fit` unknown.
    """
    _check_rgb(rgb)
    if height <= 0 or width <= 0:
        raise ValueError(f'a model input of {width} x {height} pixels is not possible')
    if fit == 'crop':
        rgb = _centre_crop(rgb, height, width)
    elif fit != 'stretch':
        raise ValueError(f"fit is {fit!r}; it must be 'stretch' or 'crop'")
    shrunk = min(rgb.shape[0], height), min(rgb.shape[1], width)
    if rgb.shape[:2] != shrunk:
        rgb = _uint8(cv2.resize(rgb, shrunk[::-1], interpolation=cv2.INTER_AREA))
    if shrunk != (height, width):
        rgb = _uint8(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32) / np.float32(255)


def from_model_output(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn a decoded image (3, h, w) float into (h, w, 3) uint8 RGB.

    Values outside [0, 1] are clipped, NaN becomes black: it is an image for people to look at.

    Raises:
        ImageError: if the shape is another.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f'a decoded image has the shape (3, h, w), not {image.shape}')
    levels = np.clip(np.nan_to_num(image, nan=0.0), 0.0, 1.0) * 255
    return np.ascontiguousarray(np.rint(levels).astype(np.uint8).transpose(1, 2, 0))


def _centre_crop(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = rgb.shape[:2]
    kept_rows = min(rows, max(1, round(columns * height / width)))
    kept_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return rgb[top : top + kept_rows, left : left + kept_columns]


def _undecodable(data: Bytes, format: str) -> ImageError:
    return ImageError(
        f'{memoryview(data).nbytes} bytes (format {quoted(format)}) are corrupt or no image in '
        f'JPEG, PNG, WebP, {", ".join(_OTHER_FORMATS)}'
    )


def _other_size(content: bytes, format: str) -> tuple[int, int]:
    """Width and height of the less common formats, from Pillow, which decodes no pixel for it."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_OTHER_FORMATS) as opened:
            return opened.size
    except PIL.Image.DecompressionBombError as error:  # at more than a hundred million
        raise ImageError(f'the image has too many pixels; the limit is {MAX_PIXELS}') from error
    except Exception as error:  # its parsers raise much that is undocumented
        raise _undecodable(content, format) from error


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height from the header, after a walk along the chunks.

    OpenCV allocates as many bytes for a chunk as it claims to have, before it reads them.
    """
    if len(content) < 24 or content[12:16] != b'IHDR':
        raise ImageError('the PNG image is corrupt: its header is incomplete')
    width, height = struct.unpack_from('>II', content, 16)
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from('>I4s', content, position)
        position += 12 + length
        if position > len(content):
            break
        if kind == b'IEND':
            return width, height
    raise ImageError('the PNG image is truncated or corrupt: a chunk is incomplete')


def _webp_size(content: bytes) -> tuple[int, int]:
    """Width and height (RFC 9649); Pillow would allocate the whole image to tell."""
    kind, word = content[12:16], int.from_bytes(content[21:25], 'little')
    if len(content) < 30:
        raise ImageError('the WebP image is corrupt: its header is incomplete')
    if kind == b'VP8X':
        width, height = (int.from_bytes(content[at : at + 3], 'little') for at in (24, 27))
        return width + 1, height + 1
    if kind == b'VP8L':
        return (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from('<HH', content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height from the frame header (ITU-T T.81, B.2.2)."""
    size = None
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan: only coded data, then the end marker
            if size is None:
                break
            if content.find(b'\xff\xd9', position) < 0:
                raise ImageError('the JPEG image is truncated: it has no end marker')
            return size
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            if position + 9 > len(content):
                break
            height, width = struct.unpack_from('>HH', content, position + 5)
            size = width, height
        (length,) = struct.unpack_from('>H', content, position + 2)
        position += 2 + length
    raise ImageError('the JPEG image is truncated or corrupt: its header is incomplete')


def _check_rgb(rgb: NDArray[np.uint8]) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ImageError(f'an RGB image is (h, w, 3) uint8, not {rgb.shape} {rgb.dtype}')


def _uint8(pixels: object) -> NDArray[np.uint8]:
    """OpenCV's result; its type hints leave the element type open."""
    return np.asarray(pixels, np.uint8)
