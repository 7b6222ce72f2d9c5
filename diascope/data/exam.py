"""An exam: which images a network is judged on, and what must be known of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.spec import DatasetCard
from diascope.task import Task

EXTERNAL = "on-"  # begins the names of exams on data from elsewhere


@dataclass(frozen=True)
class Exam:
    """What is judged, as far as judging needs to know it: no run, no network, no prediction."""

    name: str  # ``"test"``, ``"val"`` or ``"on-<data>"``
    # What the warnings call the images: the split or the external data set; empty where they are
    # all images of a data set, as in a cross-validation
    part: str
    splits: tuple[str, ...]  # The splits that the images are from
    task: Task  # The classes of the network
    dataset: DatasetCard  # Of the images
    manifest: pl.DataFrame  # Of the data set that the images are from, other images included
    # What was corrected by hand, ``labels`` of the fingerprint; empty where nothing was
    corrections: Mapping[str, Any]
    has_folds: bool  # Whether images of different folds were scored by different networks
    # Whether each image was scored by the one member of an ensemble that did not learn from it
    by_members: bool
    seed: int  # Of the resamples, the corruptions and the samples
    warnings: tuple[str, ...]  # What speaks against the figures before they are known

    @property
    def is_external(self) -> bool:
        """Whether the images are of a data set that the network was not trained on."""
        return self.name.startswith(EXTERNAL)


def evaluate_command(run: Path, name: str) -> str:
    """Return the command that evaluates a run on the exam of a name, and opens no other.

    Examples
    --------
    >>> evaluate_command(Path("runs/a"), "val"), evaluate_command(Path("runs/b c"), "on-clinic")
    ('diascope evaluate runs/a --split val', "diascope evaluate 'runs/b c' --on clinic")
    """
    others = {"test": "", "val": " --split val"}
    option = others.get(name, f" --on {name.removeprefix(EXTERNAL)}")
    return f"diascope evaluate {shlex.quote(run.as_posix())}{option}"
