"""What Pillow does not check of a PNG: whether all of its pixels are there."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from diascope.errors import ImageError

_BIT_DEPTH, _COLOUR_TYPE, _INTERLACE = 24, 25, 28  # where the bytes lie in the file
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
_DENSEST = 1032  # bytes that deflate makes of one, at most
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def bit_depth(content: bytes) -> int:
    """Return the bits of a sample."""
    return content[_BIT_DEPTH]


def check_promise(content: bytes, size: tuple[int, int]) -> None:
    """Refuse a header that promises more pixels than the file can hold, before they take room.

    ``size`` is width and height in px; ``ImageError`` if the file is truncated.
    """
    if _pixel_bytes(content, size) > _DENSEST * len(content):
        raise ImageError("truncated")


def check_whole(content: bytes, image: Image.Image) -> None:
    """Refuse a file whose pixels end early; Pillow leaves what is missing black, without a word.

    Only an image that ends in a black row can be one, so that most are recognised
    without inflating their pixels again. ``ImageError`` if the file is truncated.
    """
    width, height = image.size
    is_interlaced = content[_INTERLACE] == 1
    if not is_interlaced and any(image.crop((0, height - 1, width, height)).tobytes()):
        return
    n_missing = _pixel_bytes(content, image.size)
    inflater, at = zlib.decompressobj(), 8
    while at + 8 <= len(content) and n_missing > 0:
        length, kind = struct.unpack_from(">I4s", content, at)
        packed = content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while packed and n_missing > 0:
            n_missing -= len(inflater.decompress(packed, min(n_missing, 1 << 20)))
            packed = inflater.unconsumed_tail
        at += 12 + length
    if n_missing > 0:
        raise ImageError("truncated")


def _pixel_bytes(content: bytes, size: tuple[int, int]) -> int:
    """Return how many bytes the pixels take with a filter byte a row, pass by pass."""
    width, height = size
    n_bits = content[_BIT_DEPTH] * _SAMPLES[content[_COLOUR_TYPE]]
    n_bytes = 0
    for left, top, step_x, step_y in _ADAM7 if content[_INTERLACE] == 1 else _WHOLE:
        columns = max(0, -((left - width) // step_x))
        rows = max(0, -((top - height) // step_y))
        n_bytes += rows * (1 + (columns * n_bits + 7) // 8) if columns else 0
    return n_bytes
