"""A table of the user's own images: ``path, label`` and, where known, ``group, split``.

All other columns travel in the manifest. CSV (UTF-8; commas, semicolons or tabs) or Parquet. Paths
are relative to the table's folder, or absolute within it; Windows' backslashes are taken.
"""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diascope.errors import DataError, SettingsError, SourceError

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".csv", ".tsv", ".parquet")
OWN_COLUMNS = ("path", "label", "group", "split", "image_id")
MAX_BYTES = 200_000_000
MAX_ROWS = 5_000_000
MAX_COLUMNS = 1_000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SHOWN = 60  # characters of a value in a message


def read_table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read a table of images.

    Parameters
    ----------
    path : Path

    Returns
    -------
    table : DataFrame
        ``path, label`` and the other columns of the file; the paths with ``/``, those of diascope's
        columns as text, without blanks around it; what is empty is null.
    remarks : list of str
        What the user should know of how it was read.

    Raises
    ------
    SourceError
        The file cannot be read or is too big.
    DataError
        It is no such table, lacks a column, or has a path twice or rows without path or label.
    """
    import polars as pl

    table, remarks = open_table(path)
    table = _named(table, path)
    columns = [as_text(table, name, path) for name in OWN_COLUMNS if name in table.columns]
    table = table.with_columns(columns).with_columns(
        pl.col("path").str.replace_all("\\", "/", literal=True)
    )
    _check(table, path)
    for name in ("group", "split"):
        if name in table.columns and table[name].null_count() == table.height:
            table = table.drop(name)
            remarks.append(f"the column {name} is empty and was not used")
    return table, remarks


def open_table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read a file of the user's as a table, whatever its columns.

    Returns
    -------
    table : DataFrame
        Of CSV, every column is text.
    remarks : list of str
        What the user should know of how it was read.

    Raises
    ------
    SourceError
        The file cannot be read or is too big.
    DataError
        It is no table.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_BYTES:
            raise SourceError(
                f"The table has {n_bytes / 1e6:,.0f} MB, and {MAX_BYTES / 1e6:,.0f} are read.",
                where=path,
                fix="Leave out the columns that are not needed; images go into files.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"The table cannot be read: {error.strerror}.", where=path) from error
    is_parquet = path.suffix.lower() == ".parquet"
    return _parquet(content, path) if is_parquet else _csv(content, path)


def _csv(content: bytes, path: Path) -> tuple[pl.DataFrame, list[str]]:
    import polars as pl

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"The table is not UTF-8 text (byte {error.start:,}).",
            where=path,
            fix="Save it as “CSV UTF-8”; older programs write the code page of the country.",
        ) from error
    header = text[: text.find("\n")] if "\n" in text else text
    if "\0" in header:
        raise DataError("The table is no text.", where=path, fix="Save it as “CSV UTF-8”.")
    separator = max(SEPARATORS, key=header.count)
    try:
        table = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(
            f"The table cannot be read: {str(error).splitlines()[0][:200]}.",
            where=path,
            fix="Save it as CSV: one header line, and as many fields in every line.",
        ) from error
    remarks = [] if separator == "," else [f"the table was read with {SEPARATORS[separator]}"]
    return table, remarks


def _parquet(content: bytes, path: Path) -> tuple[pl.DataFrame, list[str]]:
    import polars as pl

    try:
        n_rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
        _check_rows(n_rows, path)
        return pl.read_parquet(io.BytesIO(content)), []
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"The Parquet table cannot be read: {str(error).splitlines()[0][:200]}.", where=path
        ) from error


def _check_rows(n_rows: int, path: Path) -> None:
    if n_rows > MAX_ROWS:
        raise DataError(f"The table has {n_rows:,} rows, and {MAX_ROWS:,} are read.", where=path)


def _named(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Find diascope's columns whatever the case and the blanks around their names."""
    _check_rows(table.height, path)
    if len(table.columns) > MAX_COLUMNS:
        raise DataError(f"The table has {len(table.columns):,} columns.", where=path)
    known = {name: name.strip().lower() for name in table.columns}
    found = [name for name in known.values() if name in OWN_COLUMNS]
    missing = [name for name in ("path", "label") if name not in found]
    if missing:
        columns = ", ".join(name[:SHOWN] for name in table.columns[:10])
        raise DataError(
            f"The table lacks {' and '.join(missing)}; its columns are: {columns}.",
            where=path,
            fix="Name the columns path and label in its first line; group and split may follow.",
        )
    if len(set(found)) < len(found):
        raise DataError("A column is there twice.", where=f"{path}: {', '.join(sorted(found))}")
    return table.rename({old: new for old, new in known.items() if new in OWN_COLUMNS})


def as_text(table: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    """Return a column as text: 3 and 3.0 as "3"; blanks around it and empty text go."""
    import polars as pl

    kind, column = table.schema[name], pl.col(name)
    if kind.is_float() and table[name].drop_nulls().drop_nans().round(0).eq(table[name]).all():
        column = column.fill_nan(None).cast(pl.Int64)
    elif kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise DataError(f"The column {name} holds no text.", where=path)
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def _check(table: pl.DataFrame, path: Path) -> None:
    import polars as pl

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
            f"The table cannot be used: {'; '.join(problems)}.", where=path, fix="Mend these rows."
        )


def place_paths(paths: pl.Series, names: list[str], *, root: Path) -> pl.Series:
    r"""Return the file of each path of a table.

    Parameters
    ----------
    paths : Series of str
        As in the table, with ``/``.
    names : list of str
        The files that are there.
    root : Path
        The folder that they are in.

    Raises
    ------
    DataError
        A path leads out of the folder, or a file is not there; with the number of them.
    """
    import polars as pl

    files = {_plain(name): name for name in names}
    roots = {str(place).replace("\\", "/").rstrip("/") for place in (root, root.resolve())}
    placed = [files.get(_plain(_within(path, roots))) for path in paths]
    lost = [path for path, file in zip(paths, placed, strict=True) if file is None]
    if lost:
        raise DataError(
            f"{len(lost):,} of the {len(paths):,} images of the table are not in the folder.",
            where=f"{root}: {', '.join(path[-SHOWN:] for path in lost[:5])}",
            fix="Paths are relative to the table's folder, or absolute within it; another folder "
            "is named by --source. Or take these rows out.",
        )
    result = pl.Series("path", placed, dtype=pl.String)
    if result.is_duplicated().any():
        twice = result.filter(result.is_duplicated()).sort()
        raise DataError(
            f"{twice.n_unique():,} files are in the table more than once.", where=twice[0]
        )
    return result


def _within(path: str, roots: set[str]) -> str:
    """Return the path below the folder; one that leads elsewhere will not be found."""
    for root in roots:
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    return "" if re.match(r"[A-Za-z]:", path) else path


def _plain(path: str) -> str:
    """Return a path in one way of writing: no ``.``, and letters composed as in Unicode's NFC."""
    import unicodedata

    return unicodedata.normalize("NFC", PurePosixPath(path).as_posix())


def check_is_table(path: Path) -> None:
    """Check that a file has the suffix of a table.

    Raises
    ------
    SettingsError
        It is another file.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(
            f"{path.name} is neither a folder nor a table ({', '.join(SUFFIXES)}).",
            fix="Unpack an archive and pass the folder that holds one sub-folder a class.",
        )
