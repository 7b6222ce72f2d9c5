"""Everything that a report is made of, read from a run folder before the first line is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import SPLITS
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.ledger import Head, Opening
from diascope.plan import Plan
from diascope.predictions import Predictions
from diascope.recipe import Recipe


@dataclass(frozen=True)
class Facts:
    """What was read from the run folder.

    Parameters
    ----------
    name : str
        The name of the run folder.
    card : DatasetCard
        What the data set is.
    recipe : Recipe
        What was asked for.
    plan : Plan
        What was decided.
    fingerprint, provenance, metrics : mapping
        The files of the run folder; ``metrics`` is of the split that the report is about.
    manifest : DataFrame
        One row an image, of all splits.
    predictions : Predictions
        Of the split that the report is about.
    epochs : sequence of mapping
        The epoch events of the log.
    openings_now : mapping, optional
        How often the test images were opened by now; None where no ledger knows of them.
    openings_by : sequence of Opening
        The openings of exactly these images by now, oldest first.
    ledger : Head, optional
        Where the ledger stood when the run was evaluated.
    ledger_is_continued : bool
        Whether the ledger that is here goes on from there.
    external : mapping of str to mapping
        The metrics on other data sets, by their names.
    audit : mapping, optional
        What `diascope audit` found in these data; None where they were not audited.
    """

    name: str
    card: DatasetCard
    recipe: Recipe
    plan: Plan
    fingerprint: Mapping[str, Any]
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]
    manifest: pl.DataFrame
    predictions: Predictions
    epochs: Sequence[Mapping[str, Any]]
    openings_now: Mapping[str, int] | None = None
    openings_by: Sequence[Opening] = ()
    ledger: Head | None = None
    ledger_is_continued: bool = True
    external: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None

    @property
    def classes(self) -> list[str]:
        """The K class names in label order."""
        return list(self.metrics["classes"])

    @property
    def group_kind(self) -> str:
        """What a group is, such as ``"patient"``."""
        return str(self.metrics["group_kind"])

    @property
    def is_grouped(self) -> bool:
        """Whether it is known which images belong together."""
        return self.group_kind != UNGROUPED

    @property
    def patient(self) -> str:
        """Who or what would be diagnosed, in the singular: the kind of group, if that tells."""
        return patient_of(self.group_kind)

    @property
    def split_mode(self) -> str:
        """How the images were divided, see `diascope.data.assign`; folds are always by group."""
        if self.is_cross_validation:
            return "grouped"
        return (self.fingerprint.get("split") or {}).get("mode", "grouped")

    @property
    def positive(self) -> str | None:
        """The positive class; None where every class is judged against the rest."""
        return self.metrics["positive"]

    @property
    def negative(self) -> str | None:
        """The other one of two classes; None where there is no positive one."""
        if self.positive is None:
            return None
        return next(name for name in self.classes if name != self.positive)

    @property
    def is_cross_validation(self) -> bool:
        """Whether every image was tested once, by the fold that had not seen its group."""
        return self.metrics["protocol"] == "cross-validation"

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The predicted label index of every image, intp (N,): by the rule of the card."""
        return self.predictions.predicted.astype(np.intp)


def patient_of(group_kind: str) -> str:
    """Return who or what would be diagnosed: the kind of group, if that tells."""
    return "patient" if group_kind in (UNGROUPED, "group") else group_kind


def parts_of(manifest: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows of a manifest by split, or by fold where it has folds."""
    if "fold" in manifest.columns:
        folds = manifest["fold"].drop_nulls().unique().sort()
        return {f"fold {n + 1}": manifest.filter(pl.col("fold") == n) for n in folds}
    parts = {name: manifest.filter(pl.col("split") == name) for name in SPLITS}
    return {name: part for name, part in parts.items() if part.height}
