"""The ledger: every opening of a test set, recorded against the images and not against a name.

It lives in ``DIASCOPE_HOME/ledger``. A new run, seed or folder does not make a new test set: what
counts is which images were scored.

``openings.jsonl`` only grows, a line an opening. A last line that was torn by a power cut is of an
opening that had begun: it goes on counting for its images where these can still be read in it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from diascope.atomic import write_bytes, write_text
from diascope.data.manifest import images_digest
from diascope.errors import RunError

SHORT = 16  # hexadecimal digits of each image's checksum kept for comparing test sets
KEYS = ("moment", "images", "run", "weights")

Line = dict[str, str]


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
    """

    this_run: int
    same_images: int
    models: int
    overlapping: int

    def as_dict(self) -> dict[str, int]:
        """Return the counts for JSON."""
        return asdict(self)


def record_opening(
    folder: Path, sha256s: list[str], *, run: str, weights: str, moment: str
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

    Raises
    ------
    RunError
        The ledger is damaged or cannot be written; then nothing is recorded.
    """
    digest = images_digest(sha256s)
    journal = folder / "openings.jsonl"
    line = {"moment": moment, "images": digest, "run": run, "weights": weights}
    openings = _count(folder, [*_read(journal), line], sha256s, run)
    images = folder / f"{digest}.images"
    if not images.is_file():
        write_text(images, "\n".join(sorted(sha[:SHORT] for sha in sha256s)) + "\n")
    _append(journal, line)
    return openings


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
    openings = _count(folder, _read(folder / "openings.jsonl"), sha256s, run)
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


def _read(journal: Path) -> list[Line]:
    """Read the lines; none where there is no journal."""
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"The ledger cannot be read: {error.strerror}.", where=journal) from error
    *lines, torn = content.split(b"\n")
    found = [_parsed(line) for line in lines]
    if None in found:
        raise RunError(
            f"Line {found.index(None) + 1} of the ledger is damaged.",
            where=journal,
            fix="Restore the file from a backup, or mend this line as the others are written.",
        )
    return [line for line in found if line] + ([_completed(torn)] if torn else [])


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
        _mend(journal)
        with journal.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"The opening could not be recorded, so nothing was scored: {error.strerror}.",
            where=journal,
            fix="Make room or give the right to write, then run the same command again.",
        ) from error


def _mend(journal: Path) -> None:
    """Complete a torn last line, so that the next one does not run into it."""
    content = journal.read_bytes() if journal.is_file() else b""
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        write_bytes(journal, whole + newline + json.dumps(_completed(torn)).encode() + b"\n")
