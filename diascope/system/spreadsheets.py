"""CSV for people: what a spreadsheet would run as a formula is written as text.

Excel and others run a cell that begins with ``=``, ``+``, ``-`` or ``@``, and file names and
classes are the user's, or somebody's who means harm. Such a text gets an apostrophe before it, as
OWASP advises ("CSV injection"); `restored` takes it away again. Numbers are left alone.
"""

from __future__ import annotations

from typing import TypeVar

import polars as pl

BEGINNINGS = r"^\s*'*[=+\-@\t\r]"  # or one that has an apostrophe already
MARKED = rf"^'(?:{BEGINNINGS[1:]})"


Table = TypeVar("Table", pl.DataFrame, pl.LazyFrame)


def defused(table: Table) -> Table:
    """Return a table whose texts are no formulas in a spreadsheet.

    Examples
    --------
    >>> defused(pl.DataFrame({"class": ["=1+1", "benign", "'=x"], "n": [-1, 2, 3]})).rows()
    [("'=1+1", -1), ('benign', 2), ("''=x", 3)]
    """
    return table.with_columns(
        pl.when(pl.col(name).str.contains(BEGINNINGS))
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in _texts(table)
    )


def restored(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table as it was before `defused`.

    Examples
    --------
    >>> restored(pl.DataFrame({"class": ["'=1+1", "benign", "''=x", "'quoted"]}))["class"].to_list()
    ['=1+1', 'benign', "'=x", "'quoted"]
    """
    return table.with_columns(
        pl.when(pl.col(name).str.contains(MARKED))
        .then(pl.col(name).str.slice(1))
        .otherwise(pl.col(name))
        .alias(name)
        for name in _texts(table)
    )


def _texts(table: pl.DataFrame | pl.LazyFrame) -> list[str]:
    return [name for name, kind in table.collect_schema().items() if kind == pl.String]
