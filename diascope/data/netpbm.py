"""Netpbm images (PBM, PGM, PPM, PAM), plain and binary, in a time that grows with their size alone.

Values are scaled by the maximum that the file states: to 0-255, or to 0-65535 where the maximum
is over 255.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diascope.errors import ImageError

_CHANNELS = {b"1": 1, b"2": 1, b"3": 3, b"4": 1, b"5": 1, b"6": 3}
_COMMENT = re.compile(rb"#[^\r\n]*")
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*(?:[\r\n]|\Z))*(\S{1,11})")
_PAM_LINE = re.compile(rb"\s*(?:#[^\n]*|([A-Z]+)[ \t]*([^\n]*))\n")
_PAM_CHANNELS = {
    b"BLACKANDWHITE": 1,
    b"GRAYSCALE": 1,
    b"BLACKANDWHITE_ALPHA": 2,
    b"GRAYSCALE_ALPHA": 2,
    b"RGB": 3,
    b"RGB_ALPHA": 4,
}
_LONGEST_NUMBER = 10  # digits
_PLAIN_BYTES = 8  # a value, while text becomes numbers


class Header(NamedTuple):
    """What the header of a file says, and where its values begin."""

    kind: bytes  # the digit behind the P
    width: int
    height: int
    n_channels: int  # 1 grey, 3 colour; 2 and 4 with alpha
    maximum: int
    start: int

    @property
    def decoded_bytes(self) -> int:
        """Memory that decoding takes at most, beside the file."""
        n_values = self.width * self.height * self.n_channels
        each = 1 + (self.maximum > 255)
        return n_values * (each + (_PLAIN_BYTES if self.kind in b"23" else each))


def read_header(content: bytes) -> Header:
    """Read the header of a file.

    Raises
    ------
    ImageError
        It is damaged, or the values are floating-point numbers.
    """
    kind = content[1:2]
    if kind in b"Ff":
        raise ImageError("32-bit float pixels have no stated range")
    if kind == b"7":
        return _pam_header(content)
    numbers, at = [], 2
    for _ in range(2 if kind in b"14" else 3):
        token = _TOKEN.match(content, at)
        if token is None:
            raise ImageError("truncated")
        numbers.append(_number(token[1]))
        at = token.end()
    width, height, maximum = (*numbers, 1)[:3]
    return _checked(Header(kind, width, height, _CHANNELS[kind], maximum, at + 1))


def check_promise(content: bytes, header: Header) -> None:
    """Refuse a header that promises more values than the file can hold; ``ImageError``."""
    n_values = header.width * header.height * header.n_channels
    bits_a_value = {b"1": 8, b"2": 16, b"3": 16, b"4": 1}.get(
        header.kind, 8 if header.maximum < 256 else 16
    )
    if n_values * bits_a_value > 8 * (len(content) - header.start + 1):
        raise ImageError("truncated")


def read_values(content: bytes, header: Header) -> NDArray[np.uint8 | np.uint16]:
    """Return the values: uint8 (H, W, C), 0-255, or uint16 (H, W, C), 0-65535; C is 1 to 4.

    Raises
    ------
    ImageError
        They are cut off, or no numbers from 0 to the maximum.
    """
    shape = header.height, header.width, header.n_channels
    if header.kind == b"1":
        return _plain_bits(content, header).reshape(shape)
    if header.kind == b"4":
        return _packed_bits(content, header).reshape(shape)
    n_values = header.width * header.height * header.n_channels
    if header.kind in b"23":
        values = _plain_values(content, header, n_values)
    else:
        dtype = np.dtype(np.uint8 if header.maximum < 256 else ">u2")
        if len(content) - header.start < n_values * dtype.itemsize:
            raise ImageError("truncated")
        values = np.frombuffer(content, dtype, n_values, header.start)
    return _scaled(values, header.maximum).reshape(shape)


def _pam_header(content: bytes) -> Header:
    fields: dict[bytes, bytes] = {}
    at = 3
    while b"ENDHDR" not in fields:
        line = _PAM_LINE.match(content, at)
        if line is None:
            raise ImageError("damaged (header)")
        at = line.end()
        if line[1]:
            fields[line[1]] = line[2].strip()
    width, height, n_channels, maximum = (
        _number(fields.get(name, b"")) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
    )
    expected = _PAM_CHANNELS.get(fields.get(b"TUPLTYPE", b""), n_channels)
    if n_channels != expected or n_channels > 4:
        raise ImageError(f"{n_channels} channels of an unknown kind")
    return _checked(Header(b"7", width, height, n_channels, maximum, at))


def _checked(header: Header) -> Header:
    if not (header.width and header.height):
        raise ImageError("damaged (no pixels)")
    if not 0 < header.maximum < 65536:
        raise ImageError("damaged (maximum)")
    return header


def _number(token: bytes) -> int:
    if not token.isdigit() or len(token) > _LONGEST_NUMBER:
        raise ImageError("damaged (header)")
    return int(token)


def _plain_bits(content: bytes, header: Header) -> NDArray[np.uint8]:
    n_pixels = header.width * header.height
    digits = _COMMENT.sub(b"", content[header.start - 1 :]).translate(None, b" \t\n\v\f\r")
    if len(digits) < n_pixels:
        raise ImageError("truncated")
    bits = np.frombuffer(digits, np.uint8, n_pixels)
    if ((bits != ord("0")) & (bits != ord("1"))).any():
        raise ImageError("damaged (neither 0 nor 1)")
    return np.where(bits == ord("0"), np.uint8(255), np.uint8(0))


def _packed_bits(content: bytes, header: Header) -> NDArray[np.uint8]:
    row_bytes = (header.width + 7) // 8
    if len(content) - header.start < row_bytes * header.height:
        raise ImageError("truncated")
    rows = np.frombuffer(content, np.uint8, row_bytes * header.height, header.start)
    bits = np.unpackbits(rows.reshape(header.height, row_bytes), axis=1, count=header.width)
    return (1 - bits) * np.uint8(255)


def _plain_values(content: bytes, header: Header, n_values: int) -> NDArray[np.uint16]:
    text = content[header.start - 1 :]
    text = _COMMENT.sub(b"", text) if b"#" in text else text
    numbers = re.match(rb"[\d\s]*", text)
    assert numbers is not None  # noqa: S101 - for the type checker: it matches nothing, too
    is_all = numbers.end() == len(text)
    text = numbers[0]
    if re.search(rb"\d{%d}" % (_LONGEST_NUMBER + 1), text):
        raise ImageError("damaged (a number is too long)")
    values = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
    if len(values) < n_values:
        raise ImageError("truncated" if is_all else "damaged (not a number)")
    if int(values[:n_values].max()) > header.maximum:
        raise ImageError("damaged (a value over the maximum)")
    return values[:n_values].astype(np.uint16)


def _scaled(values: NDArray, maximum: int) -> NDArray[np.uint8 | np.uint16]:
    """Scale values, 0 to ``maximum``, to 0-255 or 0-65535."""
    if maximum == 255:
        return values.astype(np.uint8)
    if maximum == 65535:
        return values.astype(np.uint16)
    top = 255 if maximum < 256 else 65535
    table = np.minimum(top, np.rint(np.arange(top + 1) / maximum * top))
    return table.astype(np.uint8 if top == 255 else np.uint16)[values]
