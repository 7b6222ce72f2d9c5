"""JPEG files that end too early though an end mark closes them, as repair tools leave them.

The decoder fills what is missing with grey, or leaves it coarse, without a word. Without the end
mark it does say so of a file of one scan. In one of several scans, other bytes are put before the
end mark: of a whole file they change nothing, of a cut one they are taken for what is missing.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field

from PIL import Image, JpegImagePlugin

from diascope.errors import ImageError

MAX_SEGMENTS = 10_000
MAX_SCANS = 100  # cameras and programs write 20 at most; each is a pass over all pixels
MAX_SCANNED_PIXELS = 1_000_000_000
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARK, _START_OF_SCAN, _END = 0xFF, 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_READ_AHEAD = b"\0" * 8
STRIP_PIXELS = 1_000_000
_FILLER = bytes((37 * number + 11) % 251 for number in range(251)) * 2  # no 0xff in it


@dataclass
class Jpeg:
    """The scans of the first picture in a file, and where the last of them ends."""

    is_progressive: bool = False
    n_components: int = 0
    n_segments: int = 0
    n_scans: int = 0
    end: int = 0  # of the last scan
    # For each component and coefficient the bits that are still to come; none is known at first.
    missing: dict[int, list[int]] = field(default_factory=dict)

    @property
    def lacks_a_scan(self) -> bool:
        """Whether a component has no scan, or one of its coefficients lacks its last bits."""
        n_coefficients = 64 if self.is_progressive else 1
        is_whole = [not any(bits[:n_coefficients]) for bits in self.missing.values()]
        return len(is_whole) < self.n_components or not all(is_whole)


def read_segments(content: bytes) -> Jpeg:
    """Walk through the segments of a file up to its end mark.

    Raises
    ------
    ImageError
        There are over `MAX_SCANS` scans or `MAX_SEGMENTS` segments.
    """
    jpeg, at = Jpeg(), 2
    while at + 4 <= len(content):
        if content[at] != _MARK:  # between scans there may be anything
            following = _MARKER.search(content, at)
            if following is None:
                break
            at = following.start()
            continue
        jpeg.n_segments += 1
        if jpeg.n_segments > MAX_SEGMENTS:
            raise ImageError(f"over {MAX_SEGMENTS:,} segments")
        kind = content[at + 1]
        if kind == _END:
            break
        if kind == _MARK or kind in _WITHOUT_LENGTH:
            at += 1 if kind == _MARK else 2
            continue
        end = at + 2 + max(2, content[at + 2] << 8 | content[at + 3])
        if kind in _FRAMES and end - at > 9:
            jpeg.is_progressive, jpeg.n_components = kind in _PROGRESSIVE, content[at + 9]
        if kind == _START_OF_SCAN:
            _note_scan(jpeg, content[at + 4 : end])
            following = _MARKER.search(content, end)
            end = jpeg.end = following.start() if following else len(content)
        at = end
    return jpeg


def without_end(content: bytes, jpeg: Jpeg) -> bytes:
    """Return a file of one scan as the decoder needs it to notice that pixels are missing.

    Without the end mark it asks for more, and Pillow says that the file is truncated; some zeros
    are what it reads ahead of a whole scan. Other files are returned as they are.

    Raises
    ------
    ImageError
        A scan is missing.
    """
    if jpeg.n_scans and jpeg.lacks_a_scan:
        raise ImageError("truncated")
    is_simple = jpeg.n_scans == 1 and not jpeg.is_progressive
    return content[: jpeg.end] + _READ_AHEAD if is_simple and jpeg.end < len(content) else content


def check_scans(jpeg: Jpeg, n_pixels: int) -> None:
    """Refuse a file of so many scans over so many pixels that decoding would take too long."""
    if jpeg.n_scans * n_pixels > MAX_SCANNED_PIXELS:
        raise ImageError(f"{jpeg.n_scans} scans of {n_pixels:,} pixels take too long")


def digest_with_filler(content: bytes, jpeg: Jpeg) -> bytes:
    """Digest the pixels of a file of several scans with other bytes behind the last of them."""
    filled = content[: jpeg.end] + _FILLER + b"\xff\xd9"
    return digest(JpegImagePlugin.JpegImageFile(io.BytesIO(filled)))


def digest(image: Image.Image) -> bytes:
    """Digest the pixels of an image, strip by strip."""
    found = hashlib.blake2b(digest_size=16)
    width, height = image.size
    n_rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, n_rows):
        found.update(image.crop((0, top, width, min(top + n_rows, height))).tobytes())
    return found.digest()


def _note_scan(jpeg: Jpeg, segment: bytes) -> None:
    jpeg.n_scans += 1
    if jpeg.n_scans > MAX_SCANS:
        raise ImageError(f"over {MAX_SCANS} scans")
    n_components = segment[0] if segment else 0
    components = segment[1 : 1 + 2 * n_components : 2]
    spectrum = segment[1 + 2 * n_components :]
    if len(spectrum) < 3:
        return
    first, last, low = spectrum[0], min(spectrum[1], 63), spectrum[2] & 0b1111
    for component in components:
        bits = jpeg.missing.setdefault(component, [1] * 64)
        bits[first : last + 1] = [low] * (last + 1 - first)
