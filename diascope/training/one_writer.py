"""One writer of a run at a time: who trains it, and who evaluates it, hold a lock.

The locks are those of the operating system: one whose process has died is free again, whatever the
clocks of the machines say. On a file system that several machines share, it has to support them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from diascope.errors import RunError
from diascope.system.environment import home
from diascope.system.locks import Lock

LOCK = "lock"  # in the folder of checkpoints, which is there while a run is trained


@contextmanager
def training_alone(folder: Path, checkpoints: Path) -> Iterator[None]:
    """Keep other processes from training the same run.

    Raises
    ------
    RunError
        One already does.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    with _alone(checkpoints / LOCK, "training", folder):
        yield


@contextmanager
def evaluating_alone(folder: Path) -> Iterator[None]:
    """Keep other processes that share ``DIASCOPE_HOME`` from evaluating the same run.

    Raises
    ------
    RunError
        One already does.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    locks = home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with _alone(locks / name, "evaluating", folder):
        yield


def holds_only_a_lock(checkpoints: Path) -> bool:
    """Whether a folder of checkpoints is what a training left that ended before it began."""
    return checkpoints.is_dir() and {path.name for path in checkpoints.iterdir()} <= {LOCK}


@contextmanager
def _alone(lock: Path, doing: str, folder: Path) -> Iterator[None]:
    held = Lock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"Another process is {doing} this run.",
            where=folder,
            fix="Wait for it, or choose another folder with --out.",
        ) from error
    try:
        yield
    finally:
        held.release()
