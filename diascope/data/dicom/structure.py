"""The structure of a DICOM file, walked before pydicom sees it: truncated, too deep, too much.

pydicom reads what is cut off without a word, recurses into every sequence, and inflates without a
limit. Nothing is interpreted here but tags and lengths.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from diascope.data.budget import MAX_FILE_BYTES
from diascope.errors import ImageError

PREAMBLE_BYTES = 132  # with the letters DICM
MAX_ELEMENTS = 500_000  # pydicom takes about 300 bytes for each
MAX_DEPTH = 30  # sequences within sequences
IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_UID = re.compile(rb"[0-9][0-9.]{0,63}")
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # with 4 bytes of length
_BULK = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"})


class Meta(NamedTuple):
    """What the file meta information says, and where it ends."""

    syntax: str  # UID of the transfer syntax
    syntax_at: int  # where that UID is written
    end: int


class Place(NamedTuple):
    """Where a value of a file lies, such as its pixels."""

    at: int
    n_bytes: int
    n_fragments: int | None  # of encapsulated pixel data, without their table; None of native


class _Level(NamedTuple):
    """A dataset, an item, or a sequence that is being read."""

    end: int | None  # None: a delimiter ends it
    is_sequence: bool
    is_implicit: bool


def read_meta(content: bytes) -> Meta:
    """Read the file meta information, group 0002.

    Raises
    ------
    ImageError
        It is not there, cut off, or names no transfer syntax.
    """
    at, found = PREAMBLE_BYTES, None
    if content[128:at] != b"DICM":
        raise ImageError("not a DICOM file: the 132 bytes that begin one are missing")
    while content[at : at + 2] == b"\2\0":
        tag, _, length, start = _explicit_header(content, at, "<")
        at = start + length
        if at > len(content):
            raise ImageError("truncated")
        if tag == _SYNTAX:
            found = start, content[start:at].rstrip(b"\0 ")
    if found is None or not _UID.fullmatch(found[1]):
        raise ImageError("truncated" if at >= len(content) else "DICOM with no transfer syntax")
    return Meta(found[1].decode(), found[0], at)


def is_deflated(content: bytes) -> bool:
    """Say whether a file is DICOM that is deflated."""
    try:
        return content[128:PREAMBLE_BYTES] == b"DICM" and read_meta(content).syntax == DEFLATED
    except ImageError:
        return False


def inflated(content: bytes, meta: Meta) -> tuple[bytes, Meta]:
    """Return a deflated file as if it had been written without compression.

    Raises
    ------
    ImageError
        It is damaged, or holds more than a file may.
    """
    most = MAX_FILE_BYTES - meta.end
    dataset, is_whole = _inflated(content, meta, most + 1)
    if len(dataset) > most:
        raise ImageError(f"inflates to over {MAX_FILE_BYTES // 1_000_000} MB")
    if not is_whole:
        raise ImageError("truncated")
    return _with_dataset(content, meta, dataset)


def inflated_start(head: bytes, meta: Meta, *, most_bytes: int) -> tuple[bytes, Meta]:
    """Return so many bytes of a deflated file, of which there is only the beginning, or fewer.

    ``ImageError`` if they are damaged.
    """
    return _with_dataset(head, meta, _inflated(head, meta, most_bytes)[0])


def _inflated(content: bytes, meta: Meta, most_bytes: int) -> tuple[bytes, bool]:
    """Inflate a dataset up to a limit; return it, and whether it ended."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        dataset = inflater.decompress(memoryview(content)[meta.end :], most_bytes)
    except zlib.error:
        raise ImageError("damaged (deflated data)") from None
    return dataset, inflater.eof


def _with_dataset(content: bytes, meta: Meta, dataset: bytes) -> tuple[bytes, Meta]:
    padded = EXPLICIT_LITTLE.encode().ljust(len(DEFLATED), b"\0")
    head = content[: meta.syntax_at] + padded + content[meta.syntax_at + len(DEFLATED) : meta.end]
    return b"".join((head, dataset)), meta._replace(syntax=EXPLICIT_LITTLE)


def walk(content: bytes, meta: Meta) -> Place | None:
    """Walk all elements of a file; return where its pixel data lie, None without any.

    Raises
    ------
    ImageError
        The file is cut off, is deeper than `MAX_DEPTH`, has over `MAX_ELEMENTS` elements, or its
        lengths do not fit together.
    """
    pixels = None
    for tag, place in _elements(content, meta):
        pixels = place if tag == PIXEL_DATA else pixels
    return pixels


def find_value(head: bytes, meta: Meta, wanted: int) -> bytes | None:
    """Return the value of an element from the beginning of a file; None where it is not there.

    Nothing behind it is read. ``ImageError`` as of `walk`, also where the beginning is too short.
    """
    for tag, place in _elements(head, meta):
        if tag >= wanted:
            return head[place.at : place.at + place.n_bytes] if tag == wanted else None
    raise ImageError("truncated")


def before_element_behind(head: bytes, last: int, *, most_bytes: int) -> bytes | None:
    """Return a file up to the first element behind a tag, from its beginning alone.

    A deflated file is returned as if it had not been, and no more of it than ``most_bytes`` is
    inflated. None where the beginning does not reach so far; ``ImageError`` as of `walk`.
    """
    meta = read_meta(head)
    if meta.syntax == DEFLATED:
        head, meta = inflated_start(head, meta, most_bytes=most_bytes)
    for tag, place in _elements(head, meta, last=last):
        if tag > last:
            return head[: place.at]
    return None


def _elements(
    content: bytes, meta: Meta, *, last: int = _END_OF_SEQUENCE
) -> Iterator[tuple[int, Place]]:
    """Yield tag and place of every value that is in no sequence, and walk through all of them.

    The first element behind ``last`` ends the walk, and its place is where its tag is.
    """
    order = ">" if meta.syntax == EXPLICIT_BIG else "<"
    at, n_elements = meta.end, 0
    is_implicit = _is_implicit(content, at, is_expected=meta.syntax == IMPLICIT_LITTLE)
    levels = [_Level(len(content), False, is_implicit)]
    while levels:
        level = levels[-1]
        end = len(content) if level.end is None else level.end
        if at == level.end or (len(levels) == 1 and _is_filler(content, at)):
            levels.pop()
            continue
        if end - at < 8:
            raise ImageError("truncated")
        if len(levels) == 1 and (tag := _header(content, at, level, order)[0]) > last:
            yield tag, Place(at, 0, None)
            return
        at, inner, found = _step(content, at, level, order)
        if at > end or (inner and inner.end is not None and inner.end > end):
            raise ImageError("truncated")
        n_elements += 1 + (found[1].n_fragments or 0 if found else 0)
        if n_elements > MAX_ELEMENTS:
            raise ImageError(f"over {MAX_ELEMENTS:,} DICOM elements")
        if found and len(levels) == 1:
            yield found
        _go_on(levels, inner)


def _go_on(levels: list[_Level], inner: _Level | None) -> None:
    """Leave a level that has ended, or go into another."""
    if inner is None:
        levels.pop()
    elif inner is not levels[-1]:
        levels.append(inner)
    if len(levels) > 2 * MAX_DEPTH:
        raise ImageError(f"DICOM sequences over {MAX_DEPTH} deep")


def _step(
    content: bytes, at: int, level: _Level, order: str
) -> tuple[int, _Level | None, tuple[int, Place] | None]:
    """Read one element, or what begins or ends an item.

    Returns where to go on; the level there, None if this one has ended; tag and place of a value.
    """
    if level.is_sequence:
        return *_item(content, at, level, order), None
    tag, vr, length, at = _header(content, at, level, order)
    if tag in (_END_OF_ITEM, _END_OF_SEQUENCE):
        return at, _closing(level, tag), None
    if is_sequence(tag, vr, length):
        return at, _Level(None if length == UNDEFINED else at + length, True, vr is None), None
    place, at = _value(content, at, length, order)
    return at, level, (tag, place)


def _is_filler(content: bytes, at: int) -> bool:
    """Say whether what is left of a file is a few zeros, with which some writers fill up."""
    return len(content) - at < 8 and not any(content[at:])


def is_sequence(tag: int, vr: bytes | None, length: int) -> bool:
    """Say whether an element is a sequence of items."""
    if vr == b"SQ":
        return True
    if length == UNDEFINED:
        return vr not in _BULK and tag != PIXEL_DATA
    if vr is not None:
        return False
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def _header(
    content: bytes, at: int, level: _Level, order: str
) -> tuple[int, bytes | None, int, int]:
    """Return tag, VR (None where none is written), length, and where the value begins."""
    if not level.is_implicit and content[at + 4 : at + 6].isupper():
        return _explicit_header(content, at, order)
    group, element, length = struct.unpack_from(f"{order}HHL", content, at)
    return group << 16 | element, None, length, at + 8


def _explicit_header(content: bytes, at: int, order: str) -> tuple[int, bytes, int, int]:
    try:
        group, element, vr, length = struct.unpack_from(f"{order}HH2sH", content, at)
        if vr not in _LONG:
            return group << 16 | element, vr, length, at + 8
        (length,) = struct.unpack_from(f"{order}L", content, at + 8)
    except struct.error:
        raise ImageError("truncated") from None
    return group << 16 | element, vr, length, at + 12


def _item(content: bytes, at: int, level: _Level, order: str) -> tuple[int, _Level | None]:
    """Read what begins or ends an item; return where its elements begin, and its level."""
    group, element, length = struct.unpack_from(f"{order}HHL", content, at)
    tag, at = group << 16 | element, at + 8
    if tag == _END_OF_SEQUENCE:
        return at, _closing(level, tag)
    if tag != _ITEM:
        raise ImageError("damaged (a DICOM sequence without items)")
    is_implicit = _is_implicit(content, at, is_expected=level.is_implicit)
    return at, _Level(None if length == UNDEFINED else at + length, False, is_implicit)


def _closing(level: _Level, tag: int) -> None:
    is_right = tag == (_END_OF_SEQUENCE if level.is_sequence else _END_OF_ITEM)
    if level.end is not None or not is_right:
        raise ImageError("damaged (a delimiter that delimits nothing)")


def _value(content: bytes, at: int, length: int, order: str) -> tuple[Place, int]:
    """Pass over a value; return its size and where it ends."""
    if length != UNDEFINED:
        return Place(at, length, None), at + length
    start, n_fragments = at, 0
    while True:
        if len(content) - at < 8:
            raise ImageError("truncated")
        group, element, length = struct.unpack_from(f"{order}HHL", content, at)
        at += 8
        if (group << 16 | element) == _END_OF_SEQUENCE:
            return Place(start, at - start, max(0, n_fragments - 1)), at
        if (group << 16 | element) != _ITEM:
            raise ImageError("damaged (fragments of pixels)")
        n_fragments, at = n_fragments + 1, at + length
        if n_fragments > MAX_ELEMENTS:
            raise ImageError(f"over {MAX_ELEMENTS:,} fragments of pixels")


def _is_implicit(content: bytes, at: int, *, is_expected: bool) -> bool:
    """Say whether a dataset that begins here writes no VR: its first element tells, as pydicom."""
    vr = content[at + 4 : at + 6]
    return is_expected if len(vr) < 2 else not (vr.isalpha() and vr.isupper())
