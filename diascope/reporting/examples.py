"""Choose examples at random, of as many groups as possible."""

from __future__ import annotations

import polars as pl


def by_turns(rows: pl.DataFrame, *, seed: int, over: str = "group") -> pl.DataFrame:
    """Return the rows in an order in which the first ones are of as many groups as possible.

    Parameters
    ----------
    rows : DataFrame
        With ``image_id`` and the column ``over``; their own order does not matter.
    seed : int
        Of the order within a group and of the groups.
    over : str
        The column of which each value comes once before any comes twice.
    """
    rows = rows.sort("image_id").sample(fraction=1, shuffle=True, seed=seed)
    turn = pl.int_range(pl.len()).over(over)
    return rows.with_columns(turn=turn).sort("turn", maintain_order=True).drop("turn")
