"""The ledger: every opening of a test set, recorded against the images and not against a name.

It lives in ``DIASCOPE_HOME/ledger``. A new run, seed or folder does not make a new test set: what
counts is which images were scored.

``openings.jsonl`` only grows, a line an opening. A last line that was torn by a power cut is of an
opening that had begun: it goes on counting for its images where these can still be read in it.

``predictions.jsonl`` has, in the same way, the digest of the predictions that came of an opening.

Each line holds the SHA-256 of all that stands before it, so a line that was changed breaks the
chain; it also names the digest of the list of its images. Who cuts the end off, or writes all of it
anew, leaves a whole chain behind: that is noticed only where the ledger is held against a `Head`
that was copied from it, as reports and bundles have one.
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

from diascope.data.manifest import images_digest
from diascope.errors import RunError
from diascope.system.files import write_bytes, write_json, write_text
from diascope.system.locks import Lock

SHORT = 16  # hexadecimal digits of each image's checksum kept for comparing test sets
PREVIOUS = "previous"  # the key of the SHA-256 of all lines before
OPENED_BY = ("moment", "run", "weights", "command")
KEYS = (PREVIOUS, "images", *OPENED_BY)  # of every line
LISTED = "listed"  # the key of the SHA-256 of the list of images
PREDICTIONS = "predictions"  # the key of the digest of predictions
LEDGER = "ledger"  # the folder in `DIASCOPE_HOME`
JOURNAL = "openings.jsonl"
YIELDED = "predictions.jsonl"

Line = dict[str, str]


@dataclass(frozen=True)
class Head:
    """Where a ledger stood: proof of all lines up to here."""

    n_lines: int
    sha256: str  # of these lines

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
    """How often these images were opened as a test set."""

    this_run: int  # by this run
    same_images: int  # by any run, exactly these images
    models: int  # different networks among those
    overlapping: int  # openings of other test sets that share an image with this one
    by: tuple[Opening, ...]  # those of exactly these images, oldest first
    head: Head  # where the ledger stands

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
        The run's folder, and the digest of its weights.
    moment : str
        In ISO 8601.

    Raises
    ------
    RunError
        The ledger is damaged or cannot be written; then nothing is recorded.
    """
    digest, journal = images_digest(sha256s), folder / JOURNAL
    listed = "".join(f"{sha[:SHORT]}\n" for sha in sorted(sha256s))
    line = {  # what a power cut may take is the end
        LISTED: hashlib.sha256(listed.encode()).hexdigest(),
        **{"moment": moment, "images": digest, "run": run, "weights": weights, "command": command},
    }
    with _alone(folder):
        openings = _count(folder, [*_read(journal), line], sha256s, run)
        images = folder / f"{digest}.images"
        if not images.is_file():
            write_text(images, listed)
        _append(journal, line)
        return replace(openings, head=read_head(folder))


def record_predictions(folder: Path, predictions: str, *, run: str) -> None:
    """Record what the last opening of a run yielded, by the digest of the predictions.

    Raises
    ------
    RunError
        The ledger is damaged or cannot be written.
    """
    with _alone(folder):
        opening = [line for line in _read(folder / JOURNAL) if line["run"] == run][-1]
        of_opening = {key: opening[key] for key in KEYS if key != PREVIOUS}
        _read(folder / YIELDED)
        _append(folder / YIELDED, {PREDICTIONS: predictions, **of_opening})


def check_is_recorded(folder: Path, predictions: str, *, where: Path) -> None:
    """Check that the ledger knows predictions by their digest.

    Raises
    ------
    RunError
        It does not, or it is damaged. ``where`` are the predictions.
    """
    if all(line.get(PREDICTIONS) != predictions for line in _read(folder / YIELDED)):
        raise RunError(
            "The predictions are not those that the test-set access log knows.",
            where=where,
            fix="Restore the run from a copy, or remove the files of this split from predictions "
            "and metrics and run `diascope evaluate` again, which counts as another opening.",
        )


def is_continued(folder: Path, head: Head) -> bool:
    """Tell whether the ledger still begins with the lines that a head stands for.

    If not, it was cut, written anew or deleted since, or is another one. A folder that is missing
    is a ledger without lines; ``RunError`` if the ledger cannot be read.
    """
    first = _content(folder / JOURNAL).splitlines(keepends=True)[: head.n_lines]
    return _head_of(b"".join(first)) == head


def read_head(folder: Path) -> Head:
    """Return where a ledger stands, see `is_continued`."""
    return _head_of(_content(folder / JOURNAL))


def save_head(folder: Path, head: Head) -> None:
    """Write a copy of a ledger's head into the folder of a bundle."""
    write_json(folder / "ledger.json", head.as_dict())


def _head_of(content: bytes) -> Head:
    whole = content[: content.rfind(b"\n") + 1]  # a torn last line is completed later
    return Head(whole.count(b"\n"), hashlib.sha256(whole).hexdigest())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process write at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Lock(folder / "openings.lock"):
            yield
    except OSError as error:
        raise _not_recorded(error, folder) from error


def count_openings(folder: Path, sha256s: list[str], *, run: str) -> Openings | None:
    """Count the openings so far and record nothing; None where none was of any of these images.

    As of `record_opening`, but that the folder may be missing; ``RunError`` if the ledger is
    damaged.
    """
    openings = _count(folder, _read(folder / JOURNAL), sha256s, run)
    return openings if openings.same_images or openings.overlapping else None


def _count(folder: Path, lines: list[Line], sha256s: list[str], run: str) -> Openings:
    digest = images_digest(sha256s)
    mine = {sha[:SHORT] for sha in sha256s}
    same = [line for line in lines if line["images"] == digest]
    others = {line["images"]: line for line in lines if line["images"] not in (digest, "")}
    overlapping = {
        other
        for other, line in others.items()
        if not mine.isdisjoint(_images(folder / f"{other}.images", line))
    }
    return Openings(
        this_run=sum(line["run"] == run for line in same),
        same_images=len(same),
        models=len({line["weights"] for line in same} - {""}),
        overlapping=sum(line["images"] in overlapping for line in lines),
        by=tuple(Opening(*(line[key] for key in OPENED_BY)) for line in same),
        head=read_head(folder),
    )


def _images(path: Path, opening: Line) -> list[str]:
    """Read the list of the images of an opening, and check that it is the one that was written."""
    try:
        content = path.read_bytes()
        if opening.get(LISTED) in (None, hashlib.sha256(content).hexdigest()):
            return content.decode("ascii").split()
    except (OSError, ValueError):
        pass
    raise RunError(
        "The ledger's list of the images of a test set is missing or damaged.",
        where=path,
        fix=f"Restore it from a backup, or write it again: the first {SHORT} digits of the "
        f"sha256 of every test image in the manifest of {opening['run'] or 'its run'}, sorted, one "
        "a line.",
    )


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
                fix="Restore the file from a backup, or correct this line.",
            )
        if line[PREVIOUS] != before.hexdigest():
            raise RunError(
                f"The ledger was changed: line {number} does not follow on those before it.",
                where=journal,
                fix="Restore the file from a backup. Without one, move it away: a new one begins, "
                "and the reports of runs that were evaluated say that it does.",
            )
        before.update(content + b"\n")
        found.append(line)
    return found + ([_completed(torn, before.hexdigest())] if torn else [])


def _parsed(content: bytes) -> Line | None:
    try:
        line = json.loads(content)
    except ValueError:
        return None
    is_whole = isinstance(line, dict) and all(isinstance(line.get(key), str) for key in KEYS)
    return line if is_whole else None


def _completed(torn: bytes, previous: str) -> Line:
    """Return what can be read of a line without an end, and empty text for what was lost."""
    if whole := _parsed(torn):
        return whole
    text = torn.decode("utf-8", "replace")
    kept = {key: re.search(rf'"{key}": "([^"\\]*)"', text) for key in (*KEYS, LISTED, PREDICTIONS)}
    found = {key: match[1] if match else "" for key, match in kept.items() if match or key in KEYS}
    return found | {PREVIOUS: previous}


def _append(journal: Path, line: Line) -> None:
    """Write the line so that it lies on the disk before anything is scored."""
    try:
        before = _complete_last_line(journal)
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


def _complete_last_line(journal: Path) -> bytes:
    """Complete a torn last line, so that the next one does not run into it; return all lines."""
    content = _content(journal)
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        line = _completed(torn, hashlib.sha256(whole + newline).hexdigest())
        content = whole + newline + json.dumps(line).encode() + b"\n"
        write_bytes(journal, content)
    return content
