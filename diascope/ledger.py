"""The ledger: every opening of a test set, recorded against the images and not against a name.

It lives in ``DIASCOPE_HOME/ledger``. A new run, seed or folder does not make a new test set: what
counts is which images were scored.

``openings.jsonl`` only grows, a line an opening. A last line that was torn by a power cut is of an
opening that had begun: it goes on counting for its images where these can still be read in it.

Each line holds the SHA-256 of all that stands before it, so a line that was changed breaks the
chain. Who cuts the end off, or writes all of it anew, leaves a whole chain behind: that is noticed
only where the ledger is held against a `Head` that was copied from it, as reports and bundles have
one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from diascope.atomic import write_bytes, write_json, write_text
from diascope.data.manifest import images_digest
from diascope.errors import RunError

SHORT = 16  # hexadecimal digits of each image's checksum kept for comparing test sets
KEYS = ("moment", "images", "run", "weights")  # of every line, also of versions before the chain
LEDGER = "ledger"  # the folder in `DIASCOPE_HOME`
JOURNAL = "openings.jsonl"
OPENED_BY = ("moment", "run", "weights", "command")
PREVIOUS = "previous"  # the key of the SHA-256 of all lines before

Line = dict[str, str]


@dataclass(frozen=True)
class Head:
    """Where a ledger stood: proof of all lines up to here.

    Parameters
    ----------
    n_lines : int
    sha256 : str
        Of these lines.
    """

    n_lines: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> Head | None:
        """Read the fields; None where they are not those of a head."""
        if not isinstance(content, Mapping):
            return None
        n_lines, sha256 = content.get("n_lines"), content.get("sha256")
        if isinstance(n_lines, int) and isinstance(sha256, str):
            return cls(n_lines, sha256)
        return None


@dataclass(frozen=True)
class Opening:
    """One line: when, by which run and network, with which command."""

    moment: str
    run: str
    weights: str
    command: str


@dataclass(frozen=True)
class Openings:
    """How often these images were opened as a test set.

    Parameters
    ----------
    this_run : int
        By this run.
    same_images : int
        By any run, exactly these images.
    models : int
        Different networks among those.
    overlapping : int
        Openings of other test sets that share an image with this one.
    by : tuple of Opening
        Those of exactly these images, oldest first.
    head : Head
        Where the ledger stands.
    """

    this_run: int
    same_images: int
    models: int
    overlapping: int
    by: tuple[Opening, ...]
    head: Head

    def as_dict(self) -> dict[str, int]:
        """Return the counts for JSON."""
        counts = ("this_run", "same_images", "models", "overlapping")
        return {name: getattr(self, name) for name in counts}


def record_opening(
    folder: Path, sha256s: list[str], *, run: str, weights: str, moment: str, command: str = ""
) -> Openings:
    """Record that a test set is opened now, and count all openings so far, this one included.

    Parameters
    ----------
    folder : Path
        The ledger's folder; made where it is missing.
    sha256s : list of str
        Checksums of the files of the test images.
    run, weights : str
        Who opens it: the run's folder, and the digest of its weights.
    moment : str
        When, in ISO 8601.
    command : str
        The command line.

    Raises
    ------
    RunError
        The ledger is damaged or cannot be written; then nothing is recorded.
    """
    digest = images_digest(sha256s)
    journal = folder / JOURNAL
    line = {"moment": moment, "images": digest, "run": run, "weights": weights, "command": command}
    with _alone(folder):
        openings = _count(folder, [*_read(journal), line], sha256s, run)
        images = folder / f"{digest}.images"
        if not images.is_file():
            write_text(images, "\n".join(sorted(sha[:SHORT] for sha in sha256s)) + "\n")
        _append(journal, line)
        return replace(openings, head=read_head(folder))


def is_continued(folder: Path, head: Head) -> bool:
    """Tell whether the ledger still begins with the lines that a head stands for.

    If not, it was cut, written anew or deleted since, or is another one.

    Parameters
    ----------
    folder : Path
        The ledger's folder; it may be missing.
    head : Head
        Copied earlier, see `Openings`.

    Raises
    ------
    RunError
        The ledger cannot be read.
    """
    first = _content(folder / JOURNAL).splitlines(keepends=True)[: head.n_lines]
    return _head_of(b"".join(first)) == head


def read_head(folder: Path) -> Head:
    """Return where a ledger stands; it may be missing, and has no lines then.

    Raises
    ------
    RunError
        The ledger cannot be read.
    """
    return _head_of(_content(folder / JOURNAL))


def save_head(folder: Path, head: Head) -> None:
    """Lay a copy of a ledger's head into the folder of a bundle."""
    write_json(folder / "ledger.json", head.as_dict())


def _head_of(content: bytes) -> Head:
    whole = content[: content.rfind(b"\n") + 1]  # a torn last line is completed later
    return Head(whole.count(b"\n"), hashlib.sha256(whole).hexdigest())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process write at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "openings.lock"):
            yield
    except OSError as error:
        raise _not_recorded(error, folder) from error


def count_openings(folder: Path, sha256s: list[str], *, run: str) -> Openings | None:
    """Count the openings so far and record nothing; None where none was of any of these images.

    Parameters
    ----------
    folder : Path
        The ledger's folder; it may be missing.
    sha256s : list of str
        Checksums of the files of the test images.
    run : str
        The run's folder.

    Raises
    ------
    RunError
        The ledger is damaged.
    """
    openings = _count(folder, _read(folder / JOURNAL), sha256s, run)
    return openings if openings.same_images or openings.overlapping else None


def _count(folder: Path, lines: list[Line], sha256s: list[str], run: str) -> Openings:
    digest = images_digest(sha256s)
    mine = {sha[:SHORT] for sha in sha256s}
    same = [line for line in lines if line["images"] == digest]
    others = {line["images"]: line["run"] for line in lines if line["images"] not in (digest, "")}
    shares = {
        other
        for other, opened_by in others.items()
        if not mine.isdisjoint(_images(folder / f"{other}.images", opened_by))
    }
    return Openings(
        this_run=sum(line["run"] == run for line in same),
        same_images=len(same),
        models=len({line["weights"] for line in same} - {""}),
        overlapping=sum(line["images"] in shares for line in lines),
        by=tuple(Opening(*(line.get(key, "") for key in OPENED_BY)) for line in same),
        head=read_head(folder),
    )


def _images(path: Path, opened_by: str) -> list[str]:
    try:
        return path.read_text("utf-8").split()
    except (OSError, ValueError) as error:
        raise RunError(
            "The ledger's list of the images of a test set is missing or damaged.",
            where=path,
            fix=f"Restore it from a backup, or write it again: the first {SHORT} digits of the "
            f"sha256 of every test image in the manifest of {opened_by or 'its run'}, one a line.",
        ) from error


def _content(journal: Path) -> bytes:
    try:
        return journal.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"The ledger cannot be read: {error.strerror}.", where=journal) from error


def _read(journal: Path) -> list[Line]:
    """Read the lines, none where there is no journal, and check that each follows on the others."""
    *lines, torn = _content(journal).split(b"\n")
    found: list[Line] = []
    before = hashlib.sha256()
    for number, content in enumerate(lines, start=1):
        line = _parsed(content)
        if line is None:
            raise RunError(
                f"Line {number} of the ledger is damaged.",
                where=journal,
                fix="Restore the file from a backup, or mend this line as the others are written.",
            )
        if line.get(PREVIOUS, before.hexdigest()) != before.hexdigest():
            raise RunError(
                f"The ledger was changed: line {number} does not follow on those before it.",
                where=journal,
                fix="Restore the file from a backup. Without one, move it away: a new one begins, "
                "and the reports of runs that were evaluated say that it does.",
            )
        before.update(content + b"\n")
        found.append(line)
    return found + ([_completed(torn)] if torn else [])


def _parsed(content: bytes) -> Line | None:
    try:
        line = json.loads(content)
    except ValueError:
        return None
    is_whole = isinstance(line, dict) and all(isinstance(line.get(key), str) for key in KEYS)
    return line if is_whole else None


def _completed(torn: bytes) -> Line:
    """Return what a line without an end says, and nothing for what was lost."""
    whole = _parsed(torn)
    if whole:
        return whole
    text = torn.decode("utf-8", "replace")
    kept = {key: re.search(rf'"{key}": "([^"\\]*)"', text) for key in KEYS}
    return {key: match[1] if match else "" for key, match in kept.items()}


def _append(journal: Path, line: Line) -> None:
    """Write the line so that it lies on the disk before anything is scored."""
    try:
        before = _mended(journal)
        chained = {PREVIOUS: hashlib.sha256(before).hexdigest(), **line}
        with journal.open("ab") as file:
            file.write(json.dumps(chained).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _not_recorded(error, journal) from error


def _not_recorded(error: OSError, where: Path) -> RunError:
    return RunError(
        f"The opening could not be recorded, so nothing was scored: {error.strerror}.",
        where=where,
        fix="Make room or give the right to write, then run the same command again.",
    )


def _mended(journal: Path) -> bytes:
    """Complete a torn last line, so that the next one does not run into it; return all lines."""
    content = journal.read_bytes() if journal.is_file() else b""
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        content = whole + newline + json.dumps(_completed(torn)).encode() + b"\n"
        write_bytes(journal, content)
    return content
