"""What a table of ``predict`` says of each patient (lesion, slide): counts and means, no diagnosis.

No rule from images to patients is tested anywhere, so none is applied here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diascope.bundle.prediction_files import FORMATS
from diascope.bundle.prediction_table import DIGITS
from diascope.data.spec import UNGROUPED


def by_group(table: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return a row a group, in the order of their names; files without a group are left out.

    Returns
    -------
    DataFrame
        ``group, n_files, n_errors, n_predicted, n_referred`` (null without prediction sets), then
        ``n_called_<class>`` and ``mean_probability_<class>`` of each class.
    """
    table = table.rechunk()  # sums in one order, however the table was put together
    is_called = pl.col("predicted").is_not_null()
    can_refer = table.filter(is_called)["refer"].null_count() == 0
    return (
        table.filter(pl.col("group").is_not_null())
        .group_by("group")
        .agg(
            n_files=pl.len(),
            n_errors=pl.col("error").is_not_null().sum(),
            n_predicted=is_called.sum(),
            n_referred=(pl.col("refer") == "yes").sum() if can_refer else pl.lit(None, pl.UInt32),
            **{f"n_called_{name}": (pl.col("predicted") == name).sum() for name in classes},
            **{
                f"mean_probability_{name}": pl.col(f"probability_{name}").mean().round(DIGITS)
                for name in classes
            },
        )
        .sort("group")
    )


def groups_path(out: Path, group_kind: str) -> Path:
    """Return where the results of the groups go, beside the table or folder of predictions.

    Examples
    --------
    >>> groups_path(Path("predictions.csv"), "patient").name
    'predictions-by-patient.csv'
    >>> groups_path(Path("predictions"), "patient").name
    'predictions-by-patient.parquet'
    """
    kind = "group" if group_kind == UNGROUPED else group_kind
    is_table = out.suffix.lower() in FORMATS
    stem, suffix = (out.stem, out.suffix) if is_table else (out.name, ".parquet")
    return out.with_name(f"{stem}-by-{kind}{suffix}")
