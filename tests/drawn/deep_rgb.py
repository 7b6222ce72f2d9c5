"""Files of RGB of 16 bits, which Pillow reads as 8 bits and does not write."""

from __future__ import annotations

import struct
from zlib import compress, crc32


def png_of(values):
    """Return a PNG file of RGB of 16 bits."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc32(name + data))

    height, width, _ = values.shape
    rows = b"".join(bytes(1) + row.astype(">u2").tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")


def tiff_of(values):
    """Return a TIFF file of RGB of 16 bits, in one strip."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    bits = 8 + len(data)
    tags = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1)),
        *((262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height)),
        (279, 4, 1, len(data)),
    ]
    listed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = struct.pack("<2sHI", b"II", 42, bits + 6)
    return start + data + struct.pack("<3HH", 16, 16, 16, len(tags)) + listed + bytes(4)
