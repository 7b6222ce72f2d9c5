"""The manifest: one row an image, and what must hold of it.

Columns: ``image_id, path, label, group`` from the data set's ``index``; ``sha256, width, height,
n_bytes, pixel_digest`` from looking at every image; ``split`` (train, val, test) from splitting;
``label_original``, the first label of each image, once labels were corrected; and whatever else the
data set knows (age, site, coordinates). ``path`` is relative to the source,
with ``/``. A ``split`` that ``index`` returns is the one that came with the data, null where an
image is in none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.errors import DataError, LeakageError
from diascope.task import Task

PLACES = ("x", "y", "z", "row", "column", "col")  # columns of where in a slide an image lies
SPLITS = ("train", "val", "test")
COLUMNS = ("image_id", "path", "label", "group")
ORIGINAL = "label_original"
MEASURED = ("sha256", "width", "height", "n_bytes", "pixel_digest", "fold", ORIGINAL)
NOT_METADATA = {*COLUMNS, *MEASURED, "split", "member"}


def check_rows(table: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Return the rows sorted by ``image_id`` after checking them.

    Raises
    ------
    DataError
        A column is missing or not text, an ``image_id`` occurs twice, a label is not a class, a
        group or label is empty, a split is unknown, or a column has the name of one that diascope
        adds. All problems are in one message.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(f"The table lacks the columns {', '.join(missing)}.")
    # a column of nulls only has no type yet
    other = [name for name in COLUMNS if table.schema[name] not in (pl.String, pl.Null)]
    if other:
        raise DataError(
            f"These columns must be text and are not: {', '.join(other)}.",
            fix="Turn them into text, such as '12' instead of 12.",
        )
    problems = []
    taken = [name for name in table.columns if is_added(name)]
    if taken:
        problems.append(f"columns that diascope adds itself: {', '.join(taken)}")
    strange = set(table["split"].drop_nulls()) - set(SPLITS) if "split" in table.columns else ()
    if strange:
        shown = ", ".join(map(repr, sorted(strange)[:5]))
        problems.append(f"splits that are not {', '.join(SPLITS)}: {shown}")
    twice = table.filter(pl.col("image_id").is_duplicated())["image_id"].unique().sort()
    if len(twice):
        problems.append(f"{len(twice)} image ids occur more than once, such as {twice[0]!r}")
    unknown = sorted(set(table["label"].drop_nulls()) - set(task.classes))
    if unknown:
        problems.append(f"labels that are not a class: {', '.join(map(repr, unknown[:5]))}")
    for name in ("label", "group"):
        n_empty = table.filter(pl.col(name).is_null() | (pl.col(name) == "")).height
        if n_empty:
            problems.append(f"{n_empty} rows have no {name}")
    if problems:
        raise DataError("; ".join(problems) + ".", fix="Correct the table or the file names.")
    return table.sort("image_id")


def is_added(name: str) -> bool:
    """Say whether a column has a name that diascope itself gives to one."""
    return name in (*MEASURED, "member") or name.startswith(("split_fold_", "member_fold_"))


def metadata_columns(table: pl.DataFrame) -> list[str]:
    """Return the columns that a data set has besides those that every one has."""
    return [
        name
        for name in table.columns
        if name not in NOT_METADATA and not name.startswith(("split_fold_", "member_fold_"))
    ]


def label_indices(table: pl.DataFrame, classes: Iterable[str]) -> pl.Series:
    """Return the labels as int32 indices into ``classes``, in the order of the rows."""
    index = {name: number for number, name in enumerate(classes)}
    return table["label"].replace_strict(index, return_dtype=pl.Int32)


def rows_of(table: pl.DataFrame, split: str) -> NDArray[np.intp]:
    """Return the numbers of a split's rows: intp (n,)."""
    return np.flatnonzero((table["split"] == split).to_numpy())


def check_disjoint(table: pl.DataFrame, *, mode: str = "grouped") -> None:
    """Check that no group and no picture is in two splits.

    Featureless pictures (no ``pixel_digest``) are equal by chance and do not count.

    Parameters
    ----------
    table : DataFrame
        With ``group, pixel_digest, split``.
    mode : str
        How it was split, see `diascope.data.splits.assign`: of an official split only the groups
        are checked, of a random one nothing.

    Raises
    ------
    LeakageError
        With the number of groups or pictures and the first of them.
    """
    checked = {"official": ("group",), "random": ()}.get(mode, ("group", "pixel_digest"))
    for column in checked:
        what = {"group": "groups", "pixel_digest": "pictures"}[column]
        several = table.select(column, "split").drop_nulls(column)
        several = several.filter(pl.col(column).is_duplicated())
        n_splits = several.group_by(column).agg(pl.col("split").n_unique())
        shared = n_splits.filter(pl.col("split") > 1)[column].sort()
        if len(shared):
            raise LeakageError(
                f"{len(shared)} {what} are in more than one split, such as {shared[0]}.",
                fix="Prepare the data set again; never train on this split.",
            )


def labelled_digest(table: pl.DataFrame) -> str:
    """Digest a set of images with their labels and groups; neither order nor split matters."""
    rows = table.select("sha256", "label", "group").iter_rows()
    return hashlib.sha256("\n".join(sorted(map("\t".join, rows))).encode()).hexdigest()


def images_digest(sha256s: Iterable[str]) -> str:
    """Digest a set of images by the checksums of their files; the order does not matter."""
    return hashlib.sha256("\n".join(sorted(sha256s)).encode()).hexdigest()
