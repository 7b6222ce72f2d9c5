"""What compressed pixels say of themselves, against what the DICOM header says of them.

A decoder takes room for what the codestream says, so the two have to agree before it is called.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from diascope.data import jpeg
from diascope.data.dicom.header import Numbers
from diascope.errors import ImageError

J2K_SIZE = b"\xff\x4f\xff\x51"  # start of codestream, and the marker of its size
_JPEG_LS, _JPEG_END = 0xF7, b"\xff\xd9"
_JPEG_FRAMES = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}
_TILE_PART = 0xFF90
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


class Codestream(NamedTuple):
    """The size that a codestream has."""

    rows: int
    columns: int
    n_samples: int
    precision: int  # bits a sample
    is_jpeg_ls: bool = False


def check_jpeg(frame: bytes, numbers: Numbers) -> Codestream:
    """Check a JPEG or JPEG-LS frame against the header; ``ImageError`` if they differ."""
    found = _jpeg_size(frame)
    _check(found, numbers)
    if not found.is_jpeg_ls:
        jpeg.check_scans(jpeg.read_segments(frame), numbers.rows * numbers.columns)
        if _JPEG_END not in frame[-16:]:  # its decoder fills what is missing
            raise ImageError("truncated")
    return found


def check_j2k(frame: bytes, numbers: Numbers) -> Codestream:
    """Check a JPEG 2000 frame, with boxes around it or without, against the header."""
    at = frame.find(J2K_SIZE, 0, 4096)
    if at == -1 or len(frame) < at + 43:
        raise ImageError("damaged (no JPEG 2000 data)")
    sizes = struct.unpack_from(">8L", frame, at + 8)
    n_samples, precision = struct.unpack_from(">HB", frame, at + 40)
    found = Codestream(
        rows=sizes[1] - sizes[3],
        columns=sizes[0] - sizes[2],
        n_samples=n_samples,
        precision=(precision & 0x7F) + 1,
    )
    _check(found, numbers)
    _check_tile_parts(frame, at + 2)
    return found


def _check_tile_parts(frame: bytes, at: int) -> None:
    """Check that every part of a JPEG 2000 frame is there: its decoder bridges what is missing."""
    while at + 4 <= len(frame):
        marker, n_bytes = struct.unpack_from(">HH", frame, at)
        if marker == _TILE_PART and at + 10 <= len(frame):
            (n_bytes,) = struct.unpack_from(">L", frame, at + 6)
            if n_bytes == 0:  # up to the end
                return
            at += max(12, n_bytes)
        elif marker >> 8 == 0xFF and marker != 0xFFD9:
            at += 2 + max(2, n_bytes)
        else:
            return
    if at > len(frame):
        raise ImageError("truncated")


def _jpeg_size(frame: bytes) -> Codestream:
    at = 2
    if frame[:2] == b"\xff\xd8":
        while at + 10 <= len(frame) and frame[at] == 0xFF:
            kind = frame[at + 1]
            if kind in _JPEG_FRAMES:
                precision, rows, columns, n_samples = struct.unpack_from(">BHHB", frame, at + 4)
                return Codestream(rows, columns, n_samples, precision, kind == _JPEG_LS)
            if kind == 0xFF:
                at += 1
            elif kind in _WITHOUT_LENGTH:
                at += 2
            else:
                at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    raise ImageError("damaged (no JPEG data)")


def _check(found: Codestream, numbers: Numbers) -> None:
    if (found.rows, found.columns) != (numbers.rows, numbers.columns):
        raise ImageError(
            f"{found.columns} x {found.rows} px compressed, and the header says "
            f"{numbers.columns} x {numbers.rows}"
        )
    if found.n_samples != numbers.n_samples:
        raise ImageError(f"{found.n_samples} samples a pixel, and not {numbers.n_samples}")
    if found.precision > numbers.bits_allocated:
        raise ImageError(f"{found.precision} bits compressed for {numbers.bits_allocated}")
