"""Room on the disk for what is too much for the memory, for as long as one step works.

What is spilled lies below ``DIASCOPE_HOME`` in a folder of its own, which is removed when the step
ends, also after an error. What a killed process left is removed by a later one, once it is old and
no process that lives has its lock: comparing many pairs takes days without a change of any file.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from diascope.errors import SourceError
from diascope.system.environment import home
from diascope.system.locks import Lock

STALE_SECONDS = 3 * 24 * 3600.0  # without a change
LOCK = ".lock"
FIX = "Make room, or choose another folder by DIASCOPE_HOME, then run the same command again."


@contextmanager
def spill_folder(step: str) -> Iterator[Path]:
    """Yield an empty folder that is removed afterwards.

    Parameters
    ----------
    step : str
        Who works in it, for its name.

    Raises
    ------
    SourceError
        The folder cannot be made.
    """
    below = home() / "spill"
    with spilling(below):
        below.mkdir(parents=True, exist_ok=True)
        _remove_stale(below)
        folder = Path(tempfile.mkdtemp(prefix=f"{step}-", dir=below))
        lock = Lock(folder / LOCK, timeout=0)
        lock.acquire()
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spilling(where: Path) -> Iterator[None]:
    """Turn what the disk refuses into a ``SourceError``, such as that it is full."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"What does not fit into memory could not be written: {error.strerror or error}.",
            where=where,
            fix=FIX,
        ) from error


def _remove_stale(below: Path) -> None:
    oldest = time.time() - STALE_SECONDS
    for folder in below.iterdir():
        try:
            changed = max(one.stat().st_mtime for one in (folder, *folder.iterdir()))
        except OSError:  # it is being removed, or is no folder
            continue
        if changed < oldest and not _is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_in_use(folder: Path) -> bool:
    """Say whether a process that lives works in a folder."""
    try:
        with Lock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # of another user, for example
        return True
