"""What a table of predictions says of instances in DICOM."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from diascope.bundle.prediction_files import FAILURES_SHOWN, read_columns
from diascope.errors import SourceError
from diascope.system.words import counted

NO_DICOM = "dicom_error"  # the column that says why an image has no report or capture


def check_all_written(path: Path) -> None:
    """Check that every image of a table that was predicted has its instances in DICOM.

    Raises
    ------
    SourceError
        Some have not: how many, and the first of them with the reasons.
    """
    table = read_columns(path, ["path", NO_DICOM, "error"]).filter(pl.col("error").is_null())
    failed = table.drop_nulls(NO_DICOM)
    if not failed.height:
        return
    shown = [
        f"{name}: {why}"
        for name, why in failed.select("path", NO_DICOM).head(FAILURES_SHOWN).iter_rows()
    ]
    more = failed.height - FAILURES_SHOWN
    raise SourceError(
        f"Nothing in DICOM was written for {failed.height:,} of "
        f"{counted(table.height, 'predicted file')}.",
        where="; ".join(shown) + (f"; and {more} more" if more > 0 else ""),
        fix=f"The predictions are in {path}; its column {NO_DICOM} says why.",
    )
