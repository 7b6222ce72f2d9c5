"""Tables that list image files: a column ``path``, relative to the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diascope.data.sources.tables import SUFFIXES, as_text, name_columns, open_table
from diascope.errors import DataError


def lists_images(path: Path) -> bool:
    """Say whether a path is a table, by its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def paths_in_table(table: Path) -> Iterator[Path]:
    """Yield the paths that a table lists, in its order; the files may not exist.

    Other columns are not read.

    Raises
    ------
    SourceError, DataError
        It cannot be read as a table, has no column ``path``, no rows, or rows without a path.
    """
    rows, _ = open_table(table)
    fix = "Call the column of the image files `path`; a path is relative to the table."
    rows = name_columns(rows, ("path",), required=("path",), where=table, fix=fix)
    paths = rows.select(as_text(rows, "path", table))["path"]
    if not rows.height or paths.null_count():
        problem = f"{paths.null_count():,} rows have no path" if rows.height else "it has no rows"
        raise DataError(f"The table cannot be used: {problem}.", where=table, fix=fix)
    for path in paths.str.replace_all("\\", "/", literal=True):
        yield table.parent / path
