"""Correct labels by a table that a person filled in: checked as a whole, and never silently.

The table is what ``audit`` writes: ``image_id``, ``label`` as it was then, and ``new_label``, which
is empty, a class, or `EXCLUDE`. Groups and splits stay: no image changes sides because of a label.
The first label of an image stays in the column `ORIGINAL`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import ORIGINAL, SPLITS, label_indices
from diascope.errors import DataError

EXCLUDE = "exclude"
CORRECT_TEST = "--correct-test"
SHOWN = 3


def check_corrections(
    table: pl.DataFrame,
    manifest: pl.DataFrame,
    classes: tuple[str, ...],
    *,
    correct_test: bool,
    where: object,
) -> pl.DataFrame:
    """Return the rows that a person filled in, or raise everything that is wrong with them.

    Labels of test images are neither read nor compared, unless they are to be corrected.

    Parameters
    ----------
    table : DataFrame
        ``image_id``, ``new_label`` and perhaps ``label``, all text.
    correct_test : bool
        Whether labels of test images may be changed.
    where : object
        The table, for messages.

    Returns
    -------
    DataFrame
        ``image_id, label`` (as it is now), ``new_label, split``; rows that confirm a label too.

    Raises
    ------
    DataError
        All problems in one message.
    """
    filled = table.drop_nulls("new_label")
    known = manifest.select("image_id", "split", "pixel_digest", pl.col("label").alias("now"))
    rows = filled.join(known, on="image_id", how="left", maintain_order="left")
    is_sealed = (pl.col("split") == "test") & (not correct_test)
    sealed, readable = rows.filter(is_sealed), rows.filter(~is_sealed)
    problems = [
        *_problems_of_ids(rows),
        *_problems_of_labels(readable, filled["new_label"], classes),
    ]
    if sealed.height:
        problems.append(
            f"{sealed.height:,} rows are of test images, such as {_first(sealed['image_id'])}: "
            "labels that a network is evaluated on are changed with "
            f"{CORRECT_TEST} only, and every report says so"
        )
    if not filled.height:
        problems.append("no new_label is filled in")
    elif not problems:
        problems += _problems_of_outcome(readable, manifest, classes, correct_test=correct_test)
    if problems:
        raise DataError(
            f"The table of labels cannot be used: {'; '.join(problems)}.",
            where=where,
            fix="Nothing was changed. Correct these rows: new_label is empty, a class "
            f"({', '.join(classes[:10])}{', ...' * (len(classes) > 10)}) or {EXCLUDE}.",
        )
    return readable.select("image_id", pl.col("now").alias("label"), "new_label", "split")


def _first(values: pl.Series) -> str:
    return ", ".join(map(repr, values.head(SHOWN)))


def _problems_of_ids(rows: pl.DataFrame) -> list[str]:
    problems = []
    twice = rows.filter(pl.col("image_id").is_duplicated())
    if twice.height:
        counts = twice.group_by("image_id", maintain_order=True).agg(pl.col("new_label").n_unique())
        n_conflicts = counts.filter(pl.col("new_label") > 1).height
        conflicts = f", {n_conflicts:,} with different new labels" if n_conflicts else ""
        problems.append(
            f"{counts.height:,} image ids are there more than once{conflicts}, such as "
            f"{_first(counts['image_id'])}"
        )
    n_empty = rows["image_id"].null_count()
    if n_empty:
        problems.append(f"{n_empty:,} rows with a new label have no image_id")
    unknown = rows.filter(pl.col("split").is_null())["image_id"].drop_nulls()
    if len(unknown):
        problems.append(
            f"{len(unknown):,} image ids are not in the data, such as {_first(unknown)}"
        )
    return problems


def _problems_of_labels(
    rows: pl.DataFrame, new_labels: pl.Series, classes: tuple[str, ...]
) -> list[str]:
    """Describe new labels that are not classes, and rows written for other labels than now."""
    problems, known = [], [*classes, EXCLUDE]
    unknown = new_labels.filter(~new_labels.is_in(known))
    if len(unknown):
        names = unknown.unique().sort()
        near = difflib.get_close_matches(names[0], known, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        problems.append(f"{len(unknown):,} new labels are not a class: {_first(names)}{meant}")
    stale = rows.filter(pl.col("label") != pl.col("now")) if "label" in rows.columns else rows[:0]
    if stale.height:
        first = stale.row(0, named=True)
        problems.append(
            f"{stale.height:,} rows are of other labels than the data have now, such as "
            f"{first['image_id']!r} ({first['label']} in the table, {first['now']} in the data): "
            "leave the column label as it was, and make a table anew after each correction"
        )
    return problems


def _problems_of_outcome(
    rows: pl.DataFrame, manifest: pl.DataFrame, classes: tuple[str, ...], *, correct_test: bool
) -> list[str]:
    """Describe what would be wrong with the labels afterwards."""
    problems, after = [], corrected(manifest, rows)
    if not (rows["new_label"] != rows["now"]).any():
        problems.append("it changes nothing: every new_label is the label that the image has")
    visible = after if correct_test else after.filter(pl.col("split") != "test")
    twins = visible.join(manifest.select("image_id", now="label"), on="image_id")
    twins = twins.drop_nulls("pixel_digest").group_by("pixel_digest", maintain_order=True)
    labels = twins.agg(pl.col("now", "label").n_unique(), pl.col("image_id"))
    parted = labels.filter((pl.col("now") == 1) & (pl.col("label") > 1))
    if parted.height:
        problems.append(
            f"{parted.height:,} pictures that are there several times would get two labels, such "
            f"as {_first(parted['image_id'][0])}: correct all of them alike"
        )
    left, before = (set(t.select("split", "label").iter_rows()) for t in (after, manifest))
    lost = [
        f"no image of {name} would be left in {split}"
        for split in SPLITS
        for name in classes
        if (split, name) in before - left
    ]
    return problems + lost[:SHOWN]


def corrected(manifest: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the manifest with the labels of rows that were checked; excluded images are gone.

    Parameters
    ----------
    rows : DataFrame
        With ``image_id, new_label``.
    """
    original = pl.col(ORIGINAL) if ORIGINAL in manifest.columns else pl.col("label")
    new = rows.select("image_id", "new_label")
    table = manifest.join(new, on="image_id", how="left", maintain_order="left")
    table = table.filter(pl.col("new_label").ne_missing(EXCLUDE))
    return table.with_columns(
        original.alias(ORIGINAL), pl.coalesce("new_label", "label").alias("label")
    ).drop("new_label")


def count_changes(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Count corrections by what they change: ``split, label, new_label, n_images``, most first."""
    changes = rows.filter(pl.col("label") != pl.col("new_label"))
    counts = changes.group_by("split", "label", "new_label").agg(pl.len().alias("n_images"))
    order = ["n_images", "split", "label", "new_label"]
    return counts.sort(order, descending=[True, False, False, False]).to_dicts()


def original_labels(
    manifest: pl.DataFrame, image_ids: Sequence[str], classes: Sequence[str]
) -> NDArray[np.int32] | None:
    """Return the labels of N images before any correction: int32 (N,); None if none changed."""
    if ORIGINAL not in manifest.columns:
        return None
    rows = pl.DataFrame({"image_id": list(image_ids)}).join(
        manifest.select("image_id", "label", ORIGINAL), on="image_id", maintain_order="left"
    )
    if (rows["label"] == rows[ORIGINAL]).all():
        return None
    return label_indices(rows.select(pl.col(ORIGINAL).alias("label")), classes).to_numpy()
