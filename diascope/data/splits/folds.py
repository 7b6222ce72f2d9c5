"""Lay out a cross-validation: K outer folds by group, each with an inner validation part."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.duplicates.equal import join_duplicates
from diascope.data.manifest import check_disjoint, label_indices
from diascope.data.splits.members import member_column
from diascope.data.splits.split import split_groups
from diascope.errors import DataError, SettingsError


def fold_column(fold: int) -> str:
    """Return the name of the column that holds the split (train, val, test) of a fold."""
    return f"split_fold_{fold}"


def split_columns(folds: int) -> list[str]:
    """Return the column of each fold's split; that of the one split where there are no folds."""
    return [fold_column(fold) for fold in range(folds)] or ["split"]


def in_fold(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return a manifest whose ``split``, and ``member`` if there is one, are those of a column."""
    member = member_column(column)
    names = {column: "split"} | ({member: "member"} if member in table.columns else {})
    return table.rename(names)


def lay_out_folds(
    table: pl.DataFrame,
    classes: tuple[str, ...],
    *,
    folds: int,
    val_fraction: float,
    seed: int,
    mode: str = "grouped",
    pairs: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Add ``fold`` and, for each fold, a column with train, val and test.

    Every image is tested once, by the network of its fold. The rest is parted by group into train
    and val. The test images of an official split stay sealed:
    they are in no fold, and their rows are left out.

    Parameters
    ----------
    table : DataFrame
        The manifest; its own ``split`` is dropped.
    folds : int
        K, two or more.
    val_fraction : float
        Of the images outside the fold, 0-1.
    mode : str
        How the data set was split, see `diascope.data.splits.assign`.
    pairs : DataFrame, optional
        The duplicates that ``prepare`` found: ``image_id, other_id``. An official split may part
        them; folds do not.

    Raises
    ------
    SettingsError
        The data set was split at random.
    DataError
        There are fewer groups, or fewer groups of some class, than folds.
    """
    if mode == "random":
        raise SettingsError(
            "A cross-validation is by group, and this data set was split at random.",
            fix="Prepare it again without --split random.",
        )
    if mode == "official":
        table = table.filter(pl.col("split") != "test")
        table, _ = join_duplicates(table, pairs, accept_large=True)  # across train and val, too
    labels = label_indices(table, classes).to_numpy()
    groups = table["group"].to_numpy().astype(str)
    n_groups = len(np.unique(groups))
    if n_groups < folds:
        raise DataError(
            f"There are {n_groups} groups for {folds} folds.",
            fix=f"Use --folds {n_groups} or less.",
        )
    try:
        fold = split_groups(labels, groups, fractions=[1 / folds] * folds, seed=seed)
    except DataError as error:
        raise DataError(
            error.problem, fix=f"Use fewer than {folds} folds, or add images of other patients."
        ) from error
    laid_out = table.drop("split").with_columns(fold=pl.Series(fold, dtype=pl.Int32))
    for number in range(folds):
        split = _inner(labels, groups, fold == number, val_fraction, seed=seed + 1 + number)
        laid_out = laid_out.with_columns(pl.Series(fold_column(number), split))
        check_disjoint(laid_out.rename({fold_column(number): "split"}))
    return laid_out


def _inner(
    labels: NDArray, groups: NDArray, is_test: NDArray[np.bool_], val_fraction: float, *, seed: int
) -> NDArray[np.str_]:
    rest = ~is_test
    fractions = (1 - val_fraction, val_fraction)
    part = split_groups(labels[rest], groups[rest], fractions=fractions, seed=seed)
    split = np.full(len(labels), "test", dtype="<U5")
    split[rest] = np.array(["train", "val"])[part]
    return split
