"""Lay out an ensemble in train and val: each member is validated on a part that it never learns.

So every image outside test has one member that did not learn from its group, and its score comes
from that one alone.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from diascope.data.duplicates.equal import join_duplicates
from diascope.data.manifest import label_indices
from diascope.data.splits.split import split_groups
from diascope.errors import DataError


def member_column(split_column: str) -> str:
    """Return the name of the column that says which member is validated on an image.

    Examples
    --------
    >>> member_column("split"), member_column("split_fold_2")
    ('member', 'member_fold_2')
    """
    return split_column.replace("split", "member", 1)


def lay_out_members(
    table: pl.DataFrame,
    classes: tuple[str, ...],
    *,
    members: int,
    seed: int,
    split_column: str = "split",
    pairs: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Add the column of `member_column`: 0 to M - 1, and null for test images.

    Parameters
    ----------
    table : DataFrame
        The manifest, with a split.
    members : int
        M, two or more.
    split_column : str
        The column with train, val and test.
    pairs : DataFrame, optional
        The duplicates that ``prepare`` found: ``image_id, other_id``. An official split may part
        them; members do not.

    Raises
    ------
    DataError
        There are fewer groups of some class than members.
    """
    outside_test = (table[split_column] != "test").to_numpy()
    rest, _ = join_duplicates(table.filter(outside_test), pairs, accept_large=True)
    labels, groups = label_indices(rest, classes).to_numpy(), rest["group"].to_numpy().astype(str)
    try:
        part = split_groups(labels, groups, fractions=[1 / members] * members, seed=seed)
    except DataError as error:
        raise DataError(
            error.problem, fix=f"Train fewer than {members} members, or add images of others."
        ) from error
    numbers = np.full(table.height, -1)
    numbers[outside_test] = part
    column = pl.Series(member_column(split_column), numbers, dtype=pl.Int32)
    return table.with_columns(column.replace(-1, None))


def as_seen_by(table: pl.DataFrame, member: int | None) -> pl.DataFrame:
    """Return a manifest whose ``split`` is that of a member: its own part is val, the rest train.

    The table has ``split`` and ``member``. None, where there is one network, changes nothing.
    """
    if member is None:
        return table
    split = (
        pl.when(pl.col("split") == "test")
        .then(pl.lit("test"))
        .when(pl.col("member") == member)
        .then(pl.lit("val"))
        .otherwise(pl.lit("train"))
    )
    return table.with_columns(split.alias("split"))
