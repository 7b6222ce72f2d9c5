"""Findings: everything that is checked of a data set, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.audit.cues import Cue, image_cues, metadata_cues
from diascope.audit.duplicates import count_pairs, placed_pairs
from diascope.audit.leakage_meter import Gap, measure_leakage, why_no_gap
from diascope.audit.measure import Measures
from diascope.audit.patches import patch_features
from diascope.audit.probes import CONTENT, FEWEST_GROUPS, Probe, Probed, group_folds, run_probes
from diascope.audit.quality import Oddity, find_oddities
from diascope.audit.suspects import Suspects, find_suspects
from diascope.data.duplicates.equal import join_duplicates
from diascope.data.manifest import label_indices
from diascope.errors import DataError
from diascope.system.progress import ShowProgress, silent
from diascope.task import Task

WHAT_CONTENT_IS = (
    "What the images show, as far as a quick probe sees it: which of 256 kinds of patch (6 px of "
    "64) occur, how strongly, and not where. A network sees more."
)


@dataclass(frozen=True)
class Findings:
    """What was found."""

    # The rows of the manifest that were looked at, in the order of the measures.
    images: pl.DataFrame
    # (n,): which of them the probes learned from and were judged on: train and val alone.
    probed_rows: NDArray[np.int64]
    task: Task  # the classes as they were probed
    left_out: tuple[str, ...]  # classes of too few groups to be probed
    not_probed: str  # why nothing could be probed; empty where it could
    probes: tuple[Probe, ...]  # the content first
    gaps: tuple[Gap, ...]
    no_gap: str  # why the leakage meter shows nothing
    suspects: Suspects | None  # its rows count within ``probed_rows``
    pairs: pl.DataFrame | None  # of `placed_pairs`; None where ``prepare`` left no list
    oddities: tuple[Oddity, ...]  # their rows count within ``images``

    @property
    def probed(self) -> pl.DataFrame:
        """The rows of the images that were probed."""
        return self.images[self.probed_rows]

    def as_dict(self) -> dict[str, Any]:
        """Return numbers and verdicts for JSON: no id of an image or of a group."""
        return {
            "n_images": self.images.height,
            "n_probed": len(self.probed_rows),
            "classes": list(self.task.classes),
            "left_out": list(self.left_out),
            "not_probed": self.not_probed,
            "group_kinds": group_kinds(self.probed, self.task.classes),
            "probes": [
                {
                    "name": probe.name,
                    "what": probe.what,
                    "auroc": probe.auroc.to_dict(),
                    "within_groups": probe.within.to_dict() if probe.within else None,
                    "fraction_of_content": probe.fraction,
                    "verdict": probe.verdict,
                }
                for probe in self.probes
            ],
            "leakage": {
                "why_not": self.no_gap,
                "gaps": [{**vars(gap), "gap": gap.gap.to_dict()} for gap in self.gaps],
            },
            "suspects": None if self.suspects is None else self.suspects.as_dict(),
            "duplicates": None if self.pairs is None else count_pairs(self.pairs),
            "quality": [
                {"name": one.name, "rule": one.rule, "n_images": len(one.rows)}
                for one in self.oddities
            ],
        }


def examine(
    images: pl.DataFrame,
    measures: Measures,
    *,
    task: Task,
    group_kind: str,
    mode: str = "grouped",
    pairs: pl.DataFrame | None = None,
    seed: int = 0,
    progress: ShowProgress = silent,
) -> Findings:
    """Check everything; nothing is read from disk and nothing written.

    Labels are read of train and val alone. Of test images, only what needs no label is looked at.

    Parameters
    ----------
    images : DataFrame
        Rows of the manifest.
    measures : Measures
        Of the same images, in the same order.
    group_kind : str
        What a group is, in the singular.
    mode : str
        How the data set was split, see `diascope.data.splits.assign`.
    pairs : DataFrame, optional
        The duplicates that ``prepare`` found.
    """
    oddities = tuple(find_oddities(measures.values))
    placed = None if pairs is None else placed_pairs(pairs, images)
    rows, groups, kept, left_out = probed_part(images, task.classes, mode=mode, pairs=pairs)
    part = images[rows]
    try:
        if len(kept) < 2:
            raise DataError(
                f"fewer than two classes have images of {FEWEST_GROUPS} groups outside test"
            )
        labels = label_indices(part, kept).to_numpy().astype(np.int64)
        folds = group_folds(labels, groups, seed=seed)
    except DataError as error:
        why = error.problem
        return Findings(images, rows, task, left_out, why, (), (), why, None, placed, oddities)
    kept_task = task if kept == task.classes else Task(kept)
    probed = Probed(labels, groups, folds, kept_task, group_kind, seed)
    seen = measures.of(rows)
    content = Cue(
        CONTENT, WHAT_CONTENT_IS, patch_features(seen.small, seed=seed, progress=progress)
    )
    cues = [*image_cues(seen), *metadata_cues(part)]
    probes, probabilities = run_probes(cues, content, probed, progress=progress)
    no_gap = why_no_gap(probed)
    gaps = () if no_gap else measure_leakage(content.features, probed, seed=seed, progress=progress)
    return Findings(
        images=images,
        probed_rows=rows,
        task=kept_task,
        left_out=left_out,
        not_probed="",
        probes=tuple(probes),
        gaps=tuple(gaps),
        no_gap=no_gap,
        suspects=find_suspects(labels, probabilities),
        pairs=placed,
        oddities=oddities,
    )


def probed_part(
    images: pl.DataFrame, classes: tuple[str, ...], *, mode: str, pairs: pl.DataFrame | None
) -> tuple[NDArray[np.int64], NDArray[np.str_], tuple[str, ...], tuple[str, ...]]:
    """Choose what may be probed: no test image, and no class of fewer than four groups.

    An official split may part duplicates; in folds they stay together, as in a cross-validation.

    Returns
    -------
    rows : int64 (n,)
        Among ``images``.
    groups : str (n,)
    kept, left_out : tuple of str
        The classes that are probed, and those with images but too few groups.
    """
    table = images.with_row_index("row").filter(pl.col("split") != "test")
    if mode == "official" and table.height:
        table, _ = join_duplicates(table, pairs, accept_large=True)
    n_groups = dict(table.group_by("label").agg(pl.col("group").n_unique()).iter_rows())
    kept = tuple(name for name in classes if n_groups.get(name, 0) >= FEWEST_GROUPS)
    left_out = tuple(name for name in classes if 0 < n_groups.get(name, 0) < FEWEST_GROUPS)
    table = table.filter(pl.col("label").is_in(kept)).sort("row")
    groups = table["group"].to_numpy().astype(str)
    return table["row"].to_numpy().astype(np.int64), groups, kept, left_out


def group_kinds(table: pl.DataFrame, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Count groups and images by the set of classes that a group has, most images first."""
    kinds: dict[tuple[str, ...], list[int]] = {}
    found = table.group_by("group").agg(pl.col("label").unique(), pl.len().alias("n"))
    for labels, n_images in found.sort("group").select("label", "n").iter_rows():
        kind = tuple(name for name in classes if name in labels)
        of_kind = kinds.setdefault(kind, [0, 0])
        of_kind[0] += 1
        of_kind[1] += n_images
    rows = [
        {"classes": list(kind), "n_groups": n_groups, "n_images": n_images}
        for kind, (n_groups, n_images) in kinds.items()
    ]
    return sorted(rows, key=lambda row: (-row["n_images"], row["classes"]))
