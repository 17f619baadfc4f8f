"""Compressed pictures of a few bytes that claim, or unpack to, far more than may be allocated."""

from __future__ import annotations

import struct
import zlib

SIDE = 60_000
_PNG = b'\x89PNG\r\n\x1a\n'


def png_bomb(side: int = SIDE, zeros: int = 16_000_000) -> bytes:
    """A grey PNG that claims `side` x `side` pixels; a thousandth of it unpacks to `zeros`."""
    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(zeros), 9)
    return _PNG + _chunk(b'IHDR', header) + _chunk(b'IDAT', pixels) + _chunk(b'IEND', b'')


def jpeg_bomb(jpeg: bytes, side: int = SIDE) -> bytes:
    """A baseline JPEG whose frame header claims `side` x `side` pixels."""
    data = bytearray(jpeg)
    struct.pack_into('>HH', data, data.index(b'\xff\xc0') + 5, side, side)
    return bytes(data)


def ppm_bomb(side: int = SIDE) -> bytes:
    """A PPM that claims `side` x `side` pixels and holds none."""
    return f'P6 {side} {side} 255\n'.encode()


def bmp_bomb(side: int = SIDE) -> bytes:
    """A BMP of 24 bits a pixel that claims `side` x `side` pixels and holds none."""
    information = struct.pack('<IiiHHIIiiII', 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + information


def tiff_bomb(side: int = SIDE) -> bytes:
    """A grey TIFF that claims `side` x `side` pixels in one strip of no bytes."""
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: 0}
    directory = struct.pack('<H', len(tags))
    for tag, value in tags.items():
        directory += struct.pack('<HHII', tag, 4, 1, value)
    return b'II*\x00' + struct.pack('<I', 8) + directory + bytes(4)


def webp_bomb(side: int = 16_383) -> bytes:
    """A lossless WebP (RFC 9649) that claims `side` x `side` pixels, the most there can be."""
    stream = b'\x2f' + struct.pack('<I', (side - 1) | (side - 1) << 14) + bytes(19)
    chunk = b'WEBPVP8L' + struct.pack('<I', len(stream)) + stream
    return b'RIFF' + struct.pack('<I', len(chunk)) + chunk


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack('>I', len(content)) + kind + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )
