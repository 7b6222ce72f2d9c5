"""Excel tables: the first sheet, every cell as text. The reader is an extra: ``fastexcel``."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from diascope.data.sources.zipped import ZipFiles
from diascope.errors import DataError, SettingsError

MAX_CELLS = 5_000_000  # of a sheet, empty ones included: the reader holds all of them
SHEET = re.compile(r".*\.xml", re.IGNORECASE).fullmatch
_CELL = re.compile(rb"""\br\s*=\s*["']\$?([A-Z]{0,3})\$?(\d{1,7})["']""", re.IGNORECASE)
_LONGEST_CELL = 64  # bytes that the place of a cell takes
SAVE_AGAIN = "Save it again as .xlsx without a password, or as CSV UTF-8."


def read_excel(path: Path, content: bytes, *, max_bytes: int) -> tuple[pl.DataFrame, list[str]]:
    """Read the first sheet of a workbook.

    Parameters
    ----------
    path : Path
        The workbook, for messages.
    content : bytes
        Its content.
    max_bytes : int
        The largest part to accept, in bytes unpacked.

    Returns
    -------
    table : DataFrame
        Every column is text; names are those of the first row.
    remarks : list of str
        Which sheets were not read.

    Raises
    ------
    SettingsError
        The reader is not installed.
    SourceError, DataError
        It is not a workbook, or it is damaged or hostile.
    """
    try:
        import fastexcel
    except ImportError as error:
        raise SettingsError(
            "Excel tables need the package fastexcel.",
            where=path,
            fix="Run `pip install 'diascope[excel]'`, or save the table as CSV UTF-8.",
        ) from error
    if not content.startswith(b"PK"):
        raise DataError("The file is not an Excel table (.xlsx).", where=path, fix=SAVE_AGAIN)
    with ZipFiles(path, max_member_bytes=max_bytes) as archive:  # refused if hostile
        n_cells = max(
            (_extent(archive, name) for name in archive.names() if SHEET(name)), default=0
        )
    if n_cells > MAX_CELLS:
        raise DataError(
            f"A sheet reaches over {n_cells:,} cells, and {MAX_CELLS:,} are read.",
            where=path,
            fix="Delete what stands far from the table, or save it as CSV UTF-8.",
        )
    try:
        workbook = fastexcel.read_excel(content)
        sheets = workbook.sheet_names
        table = pl.DataFrame(workbook.load_sheet(0, dtypes="string"))
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(
            f"The Excel table cannot be read: {' '.join(str(error).split())[:200]}.",
            where=path,
            fix=SAVE_AGAIN,
        ) from error
    others = ", ".join(sheets[1:6])
    return table, [f"only the first sheet was read, {sheets[0]}, not {others}"] if others else []


def _extent(archive: ZipFiles, name: str) -> int:
    """Return the number of cells from the first to the last of a sheet, empty ones included."""
    last_column = last_row = 0
    rest = b""
    for piece in archive.pieces(name):
        cells = set(_CELL.findall(rest + piece))
        last_column = max([last_column, *map(_number, {letters for letters, _ in cells})])
        last_row = max([last_row, *map(int, {digits for _, digits in cells})])
        rest = piece[-_LONGEST_CELL:]
    return last_column * last_row


def _number(letters: bytes) -> int:
    """Return the number of a column: A is 1, Z is 26, AA is 27."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - 64
    return number
