"""Large arrays in the cache: written once, memory-mapped, and checked when they are opened.

Beside the array lies a sealed JSON file with the checksum (CRC-32) of every block of the array's
file. It is written last: an array without it was never finished. All blocks are checked once in a
process, as fast as the disk reads them, so that a damaged array is never computed with.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.errors import RunError
from diascope.system.files import atomic_path
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.sealed import read_sealed, write_sealed

BLOCK_BYTES = 1 << 24
LARGE_BYTES = 1 << 30  # from here on, checking is shown as progress
State = tuple[int, ...]  # of files: number on the disk, bytes, moment of the last change

_checked: dict[Path, State] = {}  # the arrays that this process has found intact


def cached_array(
    path: Path,
    about: Path,
    *,
    facts: Mapping[str, Any],
    write: Callable[[Path, bool], None],
    progress: ShowProgress = silent,
) -> NDArray[Any]:
    """Return a cached array, memory-mapped and read-only; made where it is missing or damaged.

    Parameters
    ----------
    path, about : Path
        The ``.npy`` file, and the ``.json`` file with its checksums and the ``facts``.
    write : callable
        ``write(path, is_again)`` writes the array into a file; ``is_again`` where there was one
        that is damaged, which the progress has to say.
    """
    found, is_damaged = find_array(path, about, progress=progress)
    if found is not None:
        return found
    with atomic_path(path, is_cache=True) as temporary:
        write(temporary, is_damaged)
        blocks = _checksums(temporary, silent)
    write_sealed(about, {**facts, "block_bytes": BLOCK_BYTES, "crc32": blocks})
    _checked[path] = state_of(path, about)
    return np.load(path, mmap_mode="r")


def find_array(
    path: Path, about: Path, *, progress: ShowProgress = silent
) -> tuple[NDArray[Any] | None, bool]:
    """Return a cached array, or None; and whether there is one that is damaged."""
    if not about.is_file():
        return None, False
    try:
        state = state_of(path, about)
        if _checked.get(path) != state:
            if _checksums(path, progress) != read_sealed(about, fix="")["crc32"]:
                return None, True
            _checked[path] = state
        return np.load(path, mmap_mode="r"), False
    except (OSError, ValueError, KeyError, RunError):
        return None, True


def state_of(*paths: Path) -> State:
    """Return what changes where one of the files does; ``OSError`` if one is missing."""
    found = [path.stat() for path in paths]
    return tuple(n for one in found for n in (one.st_ino, one.st_size, one.st_mtime_ns))


def _checksums(path: Path, progress: ShowProgress) -> list[int]:
    """Return the CRC-32 of every block of a file, read by several threads."""
    n_bytes = path.stat().st_size
    is_shown = n_bytes >= LARGE_BYTES
    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, n_bytes, BLOCK_BYTES)
        for number, checksum in enumerate(
            pool.map(lambda s: block_checksum(path, s), starts), start=1
        ):
            found.append(checksum)
            if is_shown:
                progress(Progress(f"checking {path.name}", number, len(starts)))
    return found


def block_checksum(path: Path, start: int) -> int:
    """Return the CRC-32 of the block of a file that begins at a byte."""
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(BLOCK_BYTES))
