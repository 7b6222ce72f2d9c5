"""Read one file of a folder: an ordinary file within the budget, or an error in words."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from diascope.data.budget import MAX_FILE_BYTES
from diascope.errors import SourceError

_ODD = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def read_file(path: Path, n_bytes: int | None = None) -> bytes:
    """Return the content of a file, or its first ``n_bytes``.

    Nothing is waited for, as a named pipe would be, and no more memory is taken than is needed.

    Raises
    ------
    SourceError
        It is gone, unreadable, no ordinary file, or over `MAX_FILE_BYTES`.
    """
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(f"It is {kind_of_entry(status.st_mode)}, not a file.", where=path)
            if n_bytes is not None:
                return handle.read(n_bytes)
            check_file_size(status.st_size, where=path)
            return handle.read(status.st_size)
    except OSError as error:
        raise unreadable(error, path) from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_file_size(n_bytes: int, *, where: object) -> None:
    """Refuse to read a file of so many bytes, where that is too much."""
    if n_bytes > MAX_FILE_BYTES:
        raise SourceError(f"The file is over {MAX_FILE_BYTES:,} bytes: {n_bytes:,}.", where=where)


def kind_of_entry(mode: int) -> str:
    """Say what a thing in a folder is that is not an ordinary file, by its ``st_mode``."""
    return _ODD.get(stat.S_IFMT(mode), "something else")


def unreadable(error: OSError, path: Path) -> SourceError:
    """Return the error of a file that the system does not let be read."""
    return SourceError(f"The file cannot be read: {error.strerror or error}.", where=path)
