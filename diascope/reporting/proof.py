"""Show that no group and no picture is on both sides of a split: counted now, from the manifest."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import polars as pl

from diascope.data.folds import fold_column
from diascope.data.manifest import SPLITS
from diascope.errors import LeakageError
from diascope.reporting.facts import Facts

MUST_BE_ZERO = {
    "grouped": ("n_groups", "n_files", "n_pictures"),
    "official": ("n_groups",),
    "random": (),
}


def disjointness(facts: Facts) -> list[dict[str, Any]]:
    """Count the groups, the identical files and the identical pictures that splits share.

    Pictures are compared by their pixels, also turned and mirrored. Featureless ones, of a single
    colour, are equal by chance and do not count.

    Returns
    -------
    list of dict
        ``first, second`` (such as train and test), ``n_groups, n_files, n_pictures``: a count for
        every fold, and one in a holdout. All counts are 0, but for pictures in a split that came
        with the data, and in a random split, whose report carries a warning.

    Raises
    ------
    LeakageError
        Another count is not 0. There is no report of such a run: its figures mean nothing.
    """
    columns = ["split"]
    if facts.is_cross_validation:
        columns = [fold_column(fold) for fold in range(int(facts.metrics["n_folds"]))]
    pictures = facts.manifest.drop_nulls("pixel_digest")
    rows, leaks = [], []
    for first, second in combinations(SPLITS, 2):
        shared = {
            "n_groups": [_n_shared(facts.manifest, c, (first, second), "group") for c in columns],
            "n_files": [_n_shared(pictures, c, (first, second), "sha256") for c in columns],
            "n_pictures": [
                _n_shared(pictures, c, (first, second), "pixel_digest") for c in columns
            ],
        }
        rows.append({"first": first, "second": second, **shared})
        if any(
            any(shared[key]) for key in MUST_BE_ZERO.get(facts.split_mode, MUST_BE_ZERO["grouped"])
        ):
            leaks.append(
                f"{first} and {second} share {max(shared['n_groups'])} groups and "
                f"{max(shared['n_pictures'])} identical pictures"
            )
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
        for image_id, fold in zip(facts.predictions.image_ids, facts.predictions.folds, strict=True)
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


def _n_shared(manifest: pl.DataFrame, column: str, pair: tuple[str, str], key: str) -> int:
    first, second = (set(manifest.filter(pl.col(column) == split)[key]) for split in pair)
    return len(first & second)
