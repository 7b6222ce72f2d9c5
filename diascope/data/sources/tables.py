"""Tables that a user wrote: CSV (UTF-8; commas, semicolons or tabs), Excel or Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path

import polars as pl

from diascope.data.sources.excel import read_excel
from diascope.errors import DataError, SettingsError, SourceError
from diascope.system.reading import read_ordinary
from diascope.system.spreadsheets import restored
from diascope.system.words import counted

SUFFIXES = (".csv", ".tsv", ".tab", ".xlsx", ".parquet")
SPREADSHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".sav", ".dta", ".json", ".txt")
MAX_BYTES = 200_000_000
MAX_ROWS = 5_000_000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
REPEATED = r"_duplicated_\d+$"  # what polars puts behind a name that is there again
UNNAMED = re.compile(r"(__UNNAMED__\d+|Unnamed: \d+|_duplicated_\d+)?")  # as readers name them
WHOLE = r"^[+-]?\d+(\.0*)?$"
SHOWN = 60  # characters of a column name in a message


def check_is_table(path: Path) -> None:
    """Check that a file has the suffix of a table; ``SettingsError`` if not."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(
            f"{path.name} is neither a folder, a ZIP archive nor a table ({', '.join(SUFFIXES)}).",
            fix="Save another spreadsheet as .xlsx or as CSV UTF-8."
            if path.suffix.lower() in SPREADSHEETS
            else "Pass a folder or a .zip with one sub-folder a class, or a table. Unpack other "
            "archives.",
        )


def open_table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read a table, whatever its columns.

    Rows that are empty and the numbers of the rows, which pandas writes, are left out.

    Returns
    -------
    table : DataFrame
        Of CSV and Excel, every column is text.
    remarks : list of str
        What the user should know about how it was read.

    Raises
    ------
    SourceError
        The file cannot be read or is too big.
    DataError
        It is not a table.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_BYTES:
            raise SourceError(
                f"The table has {n_bytes / 1e6:,.0f} MB, and {MAX_BYTES / 1e6:,.0f} are read.",
                where=path,
                fix="Leave out the columns that are not needed; images go into files.",
            )
        content = read_ordinary(path, most_bytes=MAX_BYTES)
    except OSError as error:
        raise unreadable(error, path) from error
    kind = path.suffix.lower()
    if kind == ".parquet":
        table, remarks = _parquet(content, path), []
    elif kind == ".xlsx":
        table, remarks = read_excel(path, content, max_bytes=MAX_BYTES)
    else:
        table, remarks = _csv(content, path)
    _check_rows(table.height, path)
    table, notes = _without_empty(table)
    return table, [*remarks, *notes]


def unreadable(error: OSError, path: Path) -> SourceError:
    """Return the error of a table that is not there, is no file, or cannot be read."""
    return SourceError(
        f"The table cannot be read: {error.strerror}.",
        where=path,
        fix=f"Pass a file that can be read ({', '.join(SUFFIXES)}).",
    )


def _csv(content: bytes, path: Path) -> tuple[pl.DataFrame, list[str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"The table is not UTF-8 text (byte {error.start:,}).",
            where=path,
            fix="Save it as “CSV UTF-8”; older programs write the code page of the country.",
        ) from error
    if "\n" not in text:  # line ends of old Macs
        text = text.replace("\r", "\n")
    text = text.lstrip("\r\n")
    header, _, below = text.partition("\n")
    if "\0" in header:
        raise DataError("The table is not text.", where=path, fix="Save it as “CSV UTF-8”.")
    if stated := re.fullmatch(r'"?sep=(.)"?[,;\s]*', header, re.IGNORECASE):  # for Excel
        separator, text = stated[1], below
    else:
        has_tabs = path.suffix.lower() in (".tsv", ".tab") and "\t" in header
        separator = "\t" if has_tabs else max(SEPARATORS, key=header.count)
    try:
        table = restored(pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False))
        table = table.with_columns(pl.all().replace({"": None}))  # "" in quotes
    except (pl.exceptions.PolarsError, ValueError, OverflowError) as error:
        problem = _uneven_line(text, separator) or str(error).splitlines()[0][:200]
        raise DataError(
            f"The table cannot be read: {problem}.",
            where=path,
            fix="Save it as CSV: one header line, and as many fields in every line; a field that "
            "holds the separator stands in double quotes.",
        ) from error
    name = SEPARATORS.get(separator, repr(separator))
    return table, [] if separator == "," else [f"the table was read with {name}"]


def _uneven_line(text: str, separator: str) -> str | None:
    """Name the first line with more fields than the header; None if there is none."""
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        n_columns = len(next(lines, []))
        for fields in lines:
            if len(fields) > n_columns:
                return f"line {lines.line_num} has {len(fields)} fields, the header {n_columns}"
    except csv.Error:
        pass
    return None


def _parquet(content: bytes, path: Path) -> pl.DataFrame:
    try:
        n_rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
        _check_rows(n_rows, path)
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"The Parquet table cannot be read: {str(error).splitlines()[0][:200]}.", where=path
        ) from error


def _check_rows(n_rows: int, path: Path) -> None:
    if n_rows > MAX_ROWS:
        raise DataError(f"The table has {n_rows:,} rows, and {MAX_ROWS:,} are read.", where=path)


def _without_empty(table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Leave out rows that hold nothing, and columns without a name, which number the rows."""
    remarks = []
    unnamed = [name for name in table.columns if UNNAMED.fullmatch(name.strip())]
    if unnamed:
        table = table.drop(unnamed)
        remarks.append(f"{counted(len(unnamed), 'column')} without a name left out")
    is_empty = [
        pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")
        if kind == pl.String
        else pl.col(name).is_null()
        for name, kind in table.schema.items()
    ]
    filled = table.filter(~pl.all_horizontal(is_empty)) if is_empty else table
    if filled.height < table.height:
        remarks.append(f"{counted(table.height - filled.height, 'empty row')} left out")
    return filled, remarks


def name_columns(
    table: pl.DataFrame,
    known: Collection[str],
    *,
    required: Collection[str],
    where: Path,
    fix: str,
) -> pl.DataFrame:
    """Rename the columns that differ from known names only in case or in blanks around them.

    Parameters
    ----------
    known, required : collection of str
        The names, and those of them that must be there.
    where : Path
        The file, for messages.
    fix : str
        What to do where one is missing.

    Raises
    ------
    DataError
        A required column is missing, or a known one is there twice.
    """
    names = {name: name.strip().lower() for name in table.columns}
    named = {old: new for old, new in names.items() if new in known}
    missing = [name for name in required if name not in named.values()]
    if missing:
        columns = ", ".join(name[:SHOWN] for name in table.columns[:10])
        raise DataError(
            f"The table lacks {' and '.join(missing)}; its columns are: {columns}.",
            where=where,
            fix=fix,
        )
    repeated = [name for name in names.values() if re.sub(REPEATED, "", name) in named.values()]
    if len(repeated) > len(set(named.values())):
        raise DataError("A column is there twice.", where=f"{where}: {', '.join(sorted(named))}")
    return table.rename(named)


def as_text(table: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    """Return a column as text: 3 and 3.0 become "3", blanks around it go, empty text is null.

    The column of a text file is one of whole numbers where all that it holds are; so CSV, Excel and
    Parquet give the same.
    """
    kind, column, values = table.schema[name], pl.col(name), table[name]
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise DataError(f"The column {name} does not hold text.", where=path)
    if kind.is_float():
        numbers = values.fill_nan(None).drop_nulls()
        if numbers.is_finite().all() and (numbers.round(0) == numbers).all():
            column = column.fill_nan(None).cast(pl.Int64, strict=False)
        else:
            column = column.fill_nan(None)
    text = column.cast(pl.String).str.strip_chars()
    if kind == pl.String and _holds_whole_numbers(values.str.strip_chars()):
        text = text.str.replace(r"\.0*$", "")
    return pl.when(text != "").then(text).alias(name)


def _holds_whole_numbers(text: pl.Series) -> bool:
    """Say whether a column is one of whole numbers, some of them with a point."""
    filled = text.filter((text != "").fill_null(value=False))
    return bool(filled.str.contains(WHOLE).all() and filled.str.contains(".", literal=True).any())
