"""Read files that somebody else may have made: ordinary ones, and no more than they say they hold.

A named pipe would be waited for, and a device such as ``/dev/zero`` never ends. Whoever reads a
file of a bundle, a run, a table or a recipe reads it from here, and turns the ``OSError`` into an
error in words, as that of a file that is not there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

PIECE_BYTES = 1 << 20
_ODD = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class OddFileError(OSError):
    """What was named is no ordinary file, or is too long; ``strerror`` says which."""


def open_ordinary(path: Path, *, most_bytes: int | None = None) -> BufferedReader:
    """Open a file to be read, without waiting for one that is no ordinary file.

    Raises
    ------
    OddFileError
        It is a named pipe, a device or a socket, or longer than ``most_bytes``.
    OSError
        It is not there, is a folder, or cannot be opened.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            reason = f"it is {kind_of_entry(status.st_mode)}, not a file"
            raise OddFileError(errno.EINVAL, reason, str(path))
        if most_bytes is not None and status.st_size > most_bytes:
            raise OddFileError(errno.EFBIG, f"it is over {most_bytes:,} bytes long", str(path))
    except BaseException:
        file.close()
        raise
    return file


def read_ordinary(path: Path, *, most_bytes: int) -> bytes:
    """Return the content of a file; errors as of `open_ordinary`.

    Of a file that grows meanwhile, or says that it is empty and is not, as some of ``/proc``, no
    more is read than was there when it was opened.
    """
    with open_ordinary(path, most_bytes=most_bytes) as file:
        return file.read(length_of(file))


def pieces_of(path: Path, *, most_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file that need not fit into memory; otherwise as `read_ordinary`."""
    with open_ordinary(path, most_bytes=most_bytes) as file:
        left = length_of(file)
        while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece


def check_ordinary(path: Path, *, most_bytes: int | None = None) -> None:
    """Check a file before a library opens it by its name; errors as of `open_ordinary`."""
    open_ordinary(path, most_bytes=most_bytes).close()


def length_of(file: BufferedReader) -> int:
    """Return how many bytes an open file says it has."""
    return os.fstat(file.fileno()).st_size


def kind_of_entry(mode: int) -> str:
    """Say what a thing in a folder is that is not an ordinary file, by its ``st_mode``."""
    return _ODD.get(stat.S_IFMT(mode), "something else")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
