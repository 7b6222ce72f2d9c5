"""A table of the user's own images: ``path, label`` and, where known, ``group, split``.

All other columns travel in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from diascope.data.sources.tables import SHOWN, as_text, name_columns, open_table
from diascope.datasets.own.columns import OWN_COLUMNS, map_columns, suggest_columns
from diascope.datasets.own.folder import Reading
from diascope.errors import DataError

MAX_COLUMNS = 1_000


def read_table(path: Path, mapping: Mapping[str, str] | None = None) -> Reading:
    """Read a table of images.

    ``mapping`` names the table's columns for diascope's, see `parse_columns`.

    Returns
    -------
    Reading
        ``path, label`` and the other columns of the file; diascope's own columns are text without
        blanks around it, paths with ``/``, and empty fields null.

    Raises
    ------
    SourceError, DataError
        As of `open_table`; or it lacks a column, has a path twice, or rows without path or label.
    """
    table, remarks = open_table(path)
    if len(table.columns) > MAX_COLUMNS:
        raise DataError(f"The table has {len(table.columns):,} columns.", where=path)
    table, renamed = map_columns(table, mapping or {}, path)
    remarks += renamed
    table = name_columns(
        table,
        OWN_COLUMNS,
        required=("path", "label"),
        where=path,
        fix="Name the columns path and label in its first line (group and split may follow), or "
        f"say which they are, such as {suggest_columns(table.columns)}.",
    )
    columns = [as_text(table, name, path) for name in OWN_COLUMNS if name in table.columns]
    written = {
        name: table[name].str.strip_chars().replace({"": None}).drop_nulls().n_unique()
        for name in ("label", "group")
        if table.schema.get(name) == pl.String
    }
    table = table.with_columns(columns).with_columns(
        pl.col("path").str.replace_all("\\", "/", literal=True)
    )
    remarks += [
        f"the column {name} holds one thing written in several ways, such as 3 and 3.0"
        for name, n_values in written.items()
        if table[name].drop_nulls().n_unique() < n_values
    ]
    _check(table, path)
    for name in ("group", "split"):
        if name in table.columns and table[name].null_count() == table.height:
            table = table.drop(name)
            remarks.append(f"the column {name} is empty and was not used")
    return Reading(table, remarks)


def _check(table: pl.DataFrame, path: Path) -> None:
    problems = ["it has no rows"] if not table.height else []
    for name in ("path", "label"):
        if table[name].null_count():
            problems.append(f"{table[name].null_count():,} rows have no {name}")
    if "group" in table.columns and 0 < table["group"].null_count() < table.height:
        problems.append(f"{table['group'].null_count():,} rows have no group, and the others have")
    twice = table.filter(pl.col("path").is_not_null() & pl.col("path").is_duplicated())
    if twice.height:
        labels = twice.group_by("path").agg(pl.col("label").n_unique().alias("n"))
        conflicts = labels.filter(pl.col("n") > 1).height
        problems.append(
            f"{labels.height:,} paths are there more than once, {conflicts:,} of them with "
            f"different labels, such as {labels['path'].sort()[0][-SHOWN:]}"
        )
    if problems:
        raise DataError(
            f"The table cannot be used: {'; '.join(problems)}.",
            where=path,
            fix="Correct these rows.",
        )
