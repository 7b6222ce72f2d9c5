"""The ledger: every opening of a test set, recorded against the images and not against a name.

It lives in ``DIASCOPE_HOME/ledger``. A new run, seed or folder does not make a new test set: what
counts is which images were scored.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from diascope.atomic import write_text
from diascope.data.manifest import images_digest

SHORT = 16  # hexadecimal digits of each image's checksum kept for comparing test sets


@dataclass(frozen=True)
class Openings:
    """How often these images were opened as a test set, this time included.

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
    """Record that a test set is opened now, and count all openings so far.

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
    """
    digest = images_digest(sha256s)
    images = folder / f"{digest}.images"
    if not images.is_file():
        write_text(images, "\n".join(sorted(sha[:SHORT] for sha in sha256s)) + "\n")
    journal = folder / "openings.jsonl"
    line = {"moment": moment, "images": digest, "run": run, "weights": weights}
    with journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")

    lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    same = [line for line in lines if line["images"] == digest]
    others = {line["images"] for line in lines} - {digest}
    mine = set(images.read_text("utf-8").split())
    shares = {
        other
        for other in others
        if not mine.isdisjoint((folder / f"{other}.images").read_text("utf-8").split())
    }
    return Openings(
        this_run=sum(line["run"] == run for line in same),
        same_images=len(same),
        models=len({line["weights"] for line in same}),
        overlapping=sum(line["images"] in shares for line in lines),
    )
