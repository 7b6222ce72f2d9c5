"""Characteristics: age and sex in every split, where the data have them."""

from __future__ import annotations

import polars as pl

from diascope.data.identities import subgroup_columns
from diascope.data.spec import UNGROUPED
from diascope.reporting.report.facts import parts_of

UNKNOWN = ("", "unknown", "nan", "none", "n/a", "na")
MOST_VALUES = 6  # of sex, before a column is taken for something else


def characteristics(manifest: pl.DataFrame, group_kind: str) -> list[dict[str, str]]:
    """Describe age and sex in every split: one row of the manifest for each group.

    Returns
    -------
    list of dict
        ``name``, and ``age`` and ``sex`` as far as the manifest has such columns; empty where it
        has neither.
    """
    allowed = subgroup_columns(manifest)  # not those that look like identities
    columns = [name for name in ("age", "sex") if name in allowed and _is_usable(manifest, name)]
    if not columns:
        return []
    describe = {"age": _ages, "sex": _sexes}
    parts = {**parts_of(manifest), "all": manifest}
    return [
        {
            "name": name,
            **{column: describe[column](_one_each(part, group_kind)[column]) for column in columns},
        }
        for name, part in parts.items()
    ]


def _one_each(rows: pl.DataFrame, group_kind: str) -> pl.DataFrame:
    if group_kind == UNGROUPED:
        return rows
    return rows.sort("image_id").unique("group", keep="first", maintain_order=True)


def _is_usable(manifest: pl.DataFrame, column: str) -> bool:
    values = _known(manifest[column])
    if column == "sex":
        return 0 < values.n_unique() <= MOST_VALUES
    return len(values) > 0 and values.cast(pl.Float64, strict=False).null_count() == 0


def _known(values: pl.Series) -> pl.Series:
    texts = values.cast(pl.String).str.strip_chars().str.to_lowercase().drop_nulls()
    return texts.filter(~texts.is_in(UNKNOWN))


def _ages(values: pl.Series) -> str:
    years = _known(values).cast(pl.Float64, strict=False)
    if not len(years):
        return "unknown"
    low, middle, high = (years.quantile(q, "nearest") for q in (0, 0.5, 1))
    return f"median {middle:g}, {low:g} to {high:g}{_unknown(values)}"


def _sexes(values: pl.Series) -> str:
    counts = _known(values).value_counts(sort=False).sort("sex")
    shares = [f"{name} {n:,} ({n / counts['count'].sum():.0%})" for name, n in counts.iter_rows()]
    return (", ".join(shares) or "unknown") + (_unknown(values) if shares else "")


def _unknown(values: pl.Series) -> str:
    n_unknown = len(values) - len(_known(values))
    return f"; {n_unknown:,} unknown" if n_unknown else ""
