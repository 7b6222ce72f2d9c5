"""Show that no group and no picture is on both sides of a split: counted now, from the manifest."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import polars as pl

from diascope.errors import LeakageError
from diascope.reporting.facts import Facts


def disjointness(facts: Facts) -> list[dict[str, Any]]:
    """Count the groups and the pictures that each pair of splits (or folds) shares.

    Pictures of one colour all over are left out: they are equal by chance.

    Returns
    -------
    list of dict
        ``first, second, n_groups, n_files`` and, where pixels were digested, ``n_pictures`` (equal
        up to turns and mirrors) for each pair; all counts are 0.

    Raises
    ------
    LeakageError
        A count is not 0. There is no report of such a run, because its figures mean nothing.
    """
    parts = facts.parts()
    rows = []
    for first, second in combinations(parts, 2):
        pair = parts[first], parts[second]
        row: dict[str, Any] = {"first": first, "second": second}
        row["n_groups"] = _n_shared(*pair, "group")
        if "pixel_digest" in facts.manifest.columns:
            pair = pair[0].drop_nulls("pixel_digest"), pair[1].drop_nulls("pixel_digest")
            row["n_pictures"] = _n_shared(*pair, "pixel_digest")
        row["n_files"] = _n_shared(*pair, "sha256")
        rows.append(row)
    leaks = [
        f"{row['first']} and {row['second']} share {row['n_groups']} groups and "
        f"{row['n_files']} identical files"
        for row in rows
        if row["n_groups"] or row["n_files"] or row.get("n_pictures")
    ]
    if leaks:
        raise LeakageError(
            f"The split leaks: {'; '.join(leaks)}.",
            where="manifest.parquet of the run",
            fix="Do not use this run: prepare the data set again, train and evaluate.",
        )
    return rows


def check_predictions(facts: Facts) -> int:
    """Check that every prediction is of an image of the part that it is said to be of.

    Returns
    -------
    int
        How many predictions were checked.

    Raises
    ------
    LeakageError
        An image was predicted that belongs to another part, or to none.
    """
    column = "fold" if facts.is_cross_validation else "split"
    part_of = dict(facts.manifest.select("image_id", column).iter_rows())
    split = facts.metrics["split"]
    n_strange = sum(
        part_of.get(image_id) != (int(fold) if facts.is_cross_validation else split)
        for image_id, fold in zip(
            facts.predictions.image_ids, facts.predictions.folds, strict=True
        )
    )
    n_predicted = len(facts.predictions.image_ids)
    if n_strange:
        raise LeakageError(
            f"{n_strange} of {n_predicted} predictions are of images that do not belong to the "
            "part that was evaluated.",
            where="predictions and manifest.parquet of the run",
            fix="Evaluate the run again.",
        )
    return n_predicted


def _n_shared(first: pl.DataFrame, second: pl.DataFrame, column: str) -> int:
    return len(set(first[column].drop_nulls()) & set(second[column].drop_nulls()))
