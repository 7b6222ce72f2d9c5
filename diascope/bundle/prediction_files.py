"""Files of predictions: written from rows in memory or in parts, and read by their columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diascope.errors import SettingsError, SourceError
from diascope.system.files import atomic_path
from diascope.system.spreadsheets import defused, restored
from diascope.system.words import counted

FORMATS = (".csv", ".parquet", ".json")
PARTS = "part-*.parquet"  # in a folder, see `diascope.system.parts`
ROW_GROUP = 1 << 16  # rows that are written at once
FAILURES_SHOWN = 5


def check_is_table(path: Path) -> None:
    """Check that a name ends as a table of `FORMATS`; ``SettingsError`` if not."""
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"{path} does not end in {', '.join(FORMATS)}.", where="--out")


def write_table(table: pl.DataFrame | pl.LazyFrame, path: Path) -> Path:
    """Write the table in the format that the name ends in, one of `FORMATS`.

    The bytes depend on the rows alone, whether they are in memory or in other files.
    """
    rows, suffix = table.lazy(), path.suffix.lower()
    with atomic_path(path) as temporary:
        try:
            if suffix == ".csv":
                defused(rows).sink_csv(temporary)
            elif suffix == ".parquet":
                rows.sink_parquet(temporary, row_group_size=ROW_GROUP)
            else:
                _write_json(rows, temporary)
        except pl.exceptions.PolarsError as error:  # of the disk: nothing else can go wrong here
            raise OSError(str(error).splitlines()[0]) from error
    return path


def _write_json(rows: pl.LazyFrame, path: Path) -> None:
    """Write a list of objects, some rows at a time."""
    with path.open("wb") as file:
        start, before = 0, b"["
        while (batch := rows.slice(start, ROW_GROUP).collect()).height:
            file.write(before + batch.write_json().encode()[1:-1])
            start, before = start + batch.height, b","
        file.write(b"]" if start else b"[]")


def read_columns(path: Path, names: Sequence[str]) -> pl.DataFrame:
    """Read columns as text, whatever the first rows look like; those that are missing are null.

    A folder is one of parts, see `diascope.system.parts`.
    """
    if path.is_dir():
        rows = pl.scan_parquet(path / PARTS)
        there = rows.collect_schema().names()
        table = rows.select(name for name in names if name in there).collect()
    elif path.suffix.lower() == ".csv":
        table = restored(pl.read_csv(path, infer_schema=False))
    elif path.suffix.lower() == ".parquet":
        table = pl.read_parquet(path)
    else:
        table = pl.read_json(path, infer_schema_length=None)
    missing = [pl.lit(None, pl.String).alias(name) for name in names if name not in table.columns]
    return table.with_columns(missing).select(names)


def check_all_predicted(path: Path, done: str = "predicted") -> None:
    """Check that every file of a table that was written was predicted, or explained.

    Raises
    ------
    SourceError
        Some were not: how many, the first of them with the reasons, and where the rest is.
    """
    table = read_columns(path, ["path", "error"])
    failed = table.drop_nulls("error")
    if not failed.height:
        return
    shown = [f"{name}: {reason}" for name, reason in failed.head(FAILURES_SHOWN).iter_rows()]
    more = failed.height - FAILURES_SHOWN
    n_predicted = table.height - failed.height
    rest = f"{path} has the other {n_predicted}. " if n_predicted else ""
    raise SourceError(
        f"{failed.height:,} of {counted(table.height, 'file')} could not be {done}.",
        where="; ".join(shown) + (f"; and {more} more" if more > 0 else ""),
        fix=f"{rest}Fix these files or leave them out; the column error of {path} says why.",
    )
