"""Work in parts: items are cut once, and each part is finished whole, once, by whoever does it.

::

    parts.json                  what the parts are of, sealed
    part-00017.parquet          what a part became, in one file or more
    part-00017.json             its seal, written last: the digests of these files and of parts.json

A part is finished when its seal is there and right. So whoever begins again does what is left, and
two that do the same part leave one result, whichever was later: the parts of a job depend on
nothing but the job.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import Timeout

from diascope.errors import RunError, SourceError
from diascope.system.files import file_digest
from diascope.system.locks import Lock
from diascope.system.sealed import read_sealed, write_sealed
from diascope.system.words import counted

PLAN, LOCK = "parts.json", ".lock"
ELSEWHERE = "Choose another folder with --out, or replace what is there with --overwrite."
_OURS = re.compile(r"part-\d{5,}\.[a-z.]+|\.part-\d{5,}\..+|parts\.json|\.parts\.json\..+|\.lock")


@dataclass(frozen=True)
class Parts:
    """The parts of a job in a folder.

    Parameters
    ----------
    about : mapping
        What the parts depend on, as JSON: digests of the input, options, versions.
    n_items : int
        How many items there are, at least 1.
    size : int
        How many of them a part has; the last may have fewer.
    """

    folder: Path
    about: Mapping[str, Any]
    n_items: int
    size: int

    @property
    def numbers(self) -> range:
        """The numbers of the parts, from 0."""
        return range(-(-self.n_items // self.size))

    @property
    def plan(self) -> dict[str, Any]:
        """What ``parts.json`` says."""
        return {"of": dict(self.about), "n_items": self.n_items, "size": self.size}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.plan, sort_keys=True).encode()).hexdigest()

    def items(self, number: int) -> slice:
        """Return which items a part has."""
        return slice(number * self.size, min((number + 1) * self.size, self.n_items))

    def path(self, number: int, suffix: str = ".parquet") -> Path:
        """Return where a file of a part goes."""
        return self.folder / f"part-{number:05d}{suffix}"

    def seal(self, number: int, *suffixes: str, facts: Mapping[str, Any]) -> None:
        """Finish a part whose files have been written, with facts that JSON can hold."""
        files = {suffix: file_digest(self.path(number, suffix)) for suffix in suffixes}
        seal = {"job": self.digest, "part": number, "files": files, "facts": facts}
        write_sealed(self.path(number, ".json"), seal)

    def facts(self, number: int) -> dict[str, Any] | None:
        """Return the facts of a finished part; None where it is not finished, or is damaged."""
        try:
            seal = read_sealed(self.path(number, ".json"), fix="")
            if (seal["job"], seal["part"]) != (self.digest, number):
                return None
            for suffix, sha256 in seal["files"].items():
                if file_digest(self.path(number, suffix)) != sha256:
                    return None
        except (RunError, OSError, KeyError):
            return None
        return seal["facts"]

    def check_seen(self) -> None:
        """Check that this process sees the folder of this job; ``RunError`` if not."""
        fix = "All machines of the cluster must see the same files at the same paths."
        if _read_plan(self.folder, fix) != self.plan:
            raise RunError("Another job is in this folder.", where=self.folder, fix=fix)

    def remove(self) -> None:
        """Remove the folder, of which nothing is needed any more; what is not of parts stays."""
        _clear(self.folder)
        with suppress(OSError):
            self.folder.rmdir()


@contextmanager
def open_parts(parts: Parts, *, overwrite: bool = False) -> Iterator[None]:
    """Begin a job, or go on with it, and keep others out of its folder meanwhile.

    Parameters
    ----------
    overwrite : bool
        Remove the parts of whatever job is in the folder, but if it is the same and was
        interrupted: then go on.

    Raises
    ------
    RunError
        The folder holds something else, or another process is at work in it.
    SourceError
        The folder cannot be written to.
    """
    folder = parts.folder
    _check_is_ours(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            "Another process is at work in this folder.",
            where=folder,
            fix="Wait for it, or choose another folder with --out.",
        ) from error
    except OSError as error:
        raise SourceError(
            f"The folder cannot be written to: {error.strerror or error}.", where=folder
        ) from error
    try:
        if overwrite and not _is_interrupted(parts):
            _clear(folder, but=LOCK)
        _sweep(folder)
        plan = _read_plan(folder, ELSEWHERE) if (folder / PLAN).exists() else None
        if plan is not None and any(folder.glob("part-*")):
            _check_same(parts, plan)
        elif plan != parts.plan:  # of a job that came to nothing, such as one without a cluster
            write_sealed(folder / PLAN, parts.plan)
        yield
    finally:
        _sweep(folder)
        lock.release()


def _is_interrupted(parts: Parts) -> bool:
    """Say whether some parts of the same job are finished, and others not."""
    try:
        if _read_plan(parts.folder, "") != parts.plan:
            return False
    except (RunError, OSError):
        return False
    return not all(parts.path(number, ".json").is_file() for number in parts.numbers)


def read_parts(folder: Path) -> list[Path]:
    """Return the tables of a finished job, in the order of its items.

    Raises
    ------
    RunError
        It is no folder of parts, or one of them is not finished, or damaged.
    """
    fix = "Repeat the command that writes the folder: it does what is missing."
    if not (folder / PLAN).is_file():
        raise RunError(
            f"This is not a folder of parts: {PLAN} is missing.",
            where=folder,
            fix="Pass a table, or the folder that a command with --ray wrote.",
        )
    plan = _read_plan(folder, fix)
    parts = Parts(folder, plan["of"], n_items=plan["n_items"], size=plan["size"])
    missing = [number for number in parts.numbers if parts.facts(number) is None]
    if missing:
        raise RunError(
            f"{len(missing):,} of {counted(len(parts.numbers), 'part')} are missing or damaged.",
            where=folder,
            fix=fix,
        )
    return [parts.path(number) for number in parts.numbers]


def _check_is_ours(folder: Path) -> None:
    """Check that a folder holds parts, or nothing: nothing else is written over."""
    if not folder.exists():
        return
    is_folder = folder.is_dir()
    names = [path.name for path in folder.iterdir()] if is_folder else []
    if not is_folder or (PLAN not in names and not all(map(_OURS.fullmatch, names))):
        raise RunError(
            f"This is not a folder of parts: {PLAN} is missing."
            if is_folder
            else "There is a file where the folder of parts goes.",
            where=folder,
            fix="Choose another folder with --out.",
        )


def _check_same(parts: Parts, plan: Mapping[str, Any]) -> None:
    if plan == parts.plan:
        return
    now, then = ({**one, **one.get("of", {})} for one in (parts.plan, plan))
    others = [name for name in now if name != "of" and now[name] != then.get(name)]
    raise RunError(
        f"The folder holds parts of another job: other {', '.join(others) or 'options'}.",
        where=parts.folder,
        fix=f"Give the same options as then to go on with it. {ELSEWHERE}",
    )


def _read_plan(folder: Path, fix: str) -> dict[str, Any]:
    return read_sealed(folder / PLAN, fix=fix)


def _sweep(folder: Path) -> None:
    """Remove what was half-written when its process was killed."""
    for path in folder.glob(".part-*"):
        path.unlink(missing_ok=True)


def _clear(folder: Path, *, but: str = "") -> None:
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name != but:
            path.unlink(missing_ok=True)
