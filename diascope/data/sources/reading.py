"""Read one file of a folder: an ordinary file within the budget, or an error in words."""

from __future__ import annotations

from pathlib import Path

from diascope.data.budget import MAX_FILE_BYTES
from diascope.errors import SourceError
from diascope.system.reading import OddFileError, length_of, open_ordinary


def read_file(path: Path, n_bytes: int | None = None) -> bytes:
    """Return the content of a file, or its first ``n_bytes``.

    Nothing is waited for, as a named pipe would be, and no more memory is taken than is needed.

    Raises
    ------
    SourceError
        It is gone, unreadable, no ordinary file, or over `MAX_FILE_BYTES`.
    """
    try:
        with open_ordinary(path) as file:
            length = length_of(file)
            if n_bytes is None:
                check_file_size(length, where=path)
            return file.read(length if n_bytes is None else min(n_bytes, length))
    except OddFileError as error:
        raise SourceError(f"{str(error.strerror).capitalize()}.", where=path) from error
    except OSError as error:
        raise unreadable(error, path) from error


def check_file_size(n_bytes: int, *, where: object) -> None:
    """Refuse to read a file of so many bytes, where that is too much."""
    if n_bytes > MAX_FILE_BYTES:
        raise SourceError(f"The file is over {MAX_FILE_BYTES:,} bytes: {n_bytes:,}.", where=where)


def unreadable(error: OSError, path: Path) -> SourceError:
    """Return the error of a file that the system does not let be read."""
    return SourceError(f"The file cannot be read: {error.strerror or error}.", where=path)
