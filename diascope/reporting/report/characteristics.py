"""Table 1: what is known of those in every split and of every class, missing values counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from diascope.data.identities import subgroup_columns
from diascope.data.manifest import PLACES
from diascope.data.spec import UNGROUPED
from diascope.reporting.report.facts import parts_of
from diascope.system.words import plural

UNKNOWN = ("", "unknown", "nan", "none", "n/a", "na", "not given", "not known")
MOST_VALUES = 12  # of one column that are listed; what is left is counted together
MOST_SEXES = 6  # values of sex, before a column is taken for something else
CONSTANT = 0.95  # of the groups with several known values: then a column describes groups
FEW_NUMBERS = 6  # so many different numbers are listed as values
FIRST = ("age", "sex", "site", "device")  # in this order; other columns follow
# Places within an image or a slide, which describe nobody.
ALL = "all"


@dataclass(frozen=True)
class Row:
    """A row of Table 1: a heading, or a value with a text for every column of the table."""

    name: str
    texts: tuple[str, ...] = ()  # one a column of the table; empty for a heading
    is_value: bool = False  # of the heading above it


def characteristics(
    manifest: pl.DataFrame, group_kind: str, classes: Sequence[str] = ()
) -> tuple[list[str], list[Row]]:
    """Describe the metadata of every split and of every class.

    Groups are counted, with the first known entry of their images, where a column is the same in
    nearly all images of a group (`CONSTANT`); else images. Of a class, they are those with an image
    of it. Columns that look like identities are left out.

    Parameters
    ----------
    manifest : DataFrame
        With ``image_id, label, group, split`` (or ``fold``) and any metadata.
    classes : sequence of str
        In label order; none for splits alone.

    Returns
    -------
    columns : list of str
        The splits (or folds), ``all``, and the classes.
    rows : list of Row
        Empty where there is no metadata to describe.
    """
    columns = [*parts_of(manifest).items(), (ALL, manifest)]
    columns += [(name, manifest.filter(pl.col("label") == name)) for name in classes]
    parts = [part for _, part in columns]
    rows = [
        row
        for name in _described(manifest)
        for row in _rows(name, manifest, parts, group_kind=group_kind)
    ]
    return [name for name, _ in columns], rows


def _described(manifest: pl.DataFrame) -> list[str]:
    """Return the columns to describe, those that every Table 1 has first."""
    shown = [name for name in subgroup_columns(manifest) if _is_usable(manifest, name)]
    first = [name for name in FIRST if name in shown]
    return first + [name for name in shown if name not in first]


def _is_usable(manifest: pl.DataFrame, name: str) -> bool:
    if name.lower() in PLACES or manifest[name].dtype.is_nested():
        return False
    values = known(manifest[name]).drop_nulls()
    if name == "sex":
        return 0 < values.n_unique() <= MOST_SEXES
    if name == "age":
        return len(values) > 0 and _numbers(values).null_count() == 0
    return len(values) > 0


def known(values: pl.Series) -> pl.Series:
    """Return values as text, null where one is missing or says that it is not known."""
    texts = values.cast(pl.String).str.strip_chars()
    is_unknown = texts.str.to_lowercase().is_in(pl.Series(UNKNOWN).implode())
    return texts.set(is_unknown.fill_null(value=True), None)


def _numbers(values: pl.Series) -> pl.Series:
    return values.cast(pl.Float64, strict=False)


def _rows(
    name: str, every: pl.DataFrame, parts: Sequence[pl.DataFrame], *, group_kind: str
) -> Iterator[Row]:
    """Yield the heading of a column of metadata, its rows, and that of its missing values."""
    by_group = group_kind != UNGROUPED and _is_of_groups(every, name)
    values = [_values(part, name, by_group=by_group) for part in parts]
    of_all = _values(every, name, by_group=by_group)
    unit = plural(group_kind) if by_group else "images"
    numbers = _numbers(of_all.drop_nulls())
    is_number = numbers.null_count() == 0 and numbers.n_unique() > FEW_NUMBERS
    title = f"{name}, years" if name == "age" else name.replace("_", " ")
    if is_number:
        yield Row(f"{title} ({unit})")
        yield Row("median [quartiles], range", tuple(map(_spread, values)), is_value=True)
    else:
        yield Row(f"{title} ({unit}): number (%)")
        counts = of_all.drop_nulls().value_counts(sort=False)
        order = counts.sort(["count", name], descending=[True, False])[name].to_list()
        for value in order[:MOST_VALUES]:
            yield Row(value, tuple(_share(one, [value]) for one in values), is_value=True)
        if len(order) > MOST_VALUES:
            rest = order[MOST_VALUES:]
            texts = tuple(_share(one, rest) for one in values)
            yield Row(f"{len(rest)} other values", texts, is_value=True)
    yield Row("missing", tuple(map(_missing, values)), is_value=True)


def _is_of_groups(rows: pl.DataFrame, name: str) -> bool:
    table = rows.select("group", known(rows[name]).alias("value")).drop_nulls()
    several = table.group_by("group").agg(pl.len().alias("n"), pl.col("value").n_unique())
    several = several.filter(pl.col("n") > 1)
    return not several.height or (several["value"] == 1).sum() >= CONSTANT * several.height


def _values(rows: pl.DataFrame, name: str, *, by_group: bool) -> pl.Series:
    """Return the value of every group, or of every image, null where it is missing."""
    table = rows.select("image_id", "group", known(rows[name]).alias(name)).sort("image_id")
    if not by_group:
        return table[name]
    return table.group_by("group", maintain_order=True).agg(pl.col(name).drop_nulls().first())[name]


def _spread(values: pl.Series) -> str:
    numbers = _numbers(values).drop_nulls()
    if not len(numbers):
        return "unknown"
    places = (0, 0.25, 0.5, 0.75, 1)
    low, first, middle, third, high = (numbers.quantile(q, "linear") for q in places)
    return f"{middle:g} [{first:g}, {third:g}], {low:g} to {high:g}"


def _share(values: pl.Series, wanted: Sequence[str]) -> str:
    """Count values among those that are known."""
    n_known = len(values) - values.null_count()
    n = int(values.is_in(pl.Series(wanted).implode()).sum())
    return f"{n:,} ({100 * n / n_known:.1f} %)" if n_known else "0"


def _missing(values: pl.Series) -> str:
    n = values.null_count()
    return f"{n:,} ({100 * n / len(values):.1f} %)" if len(values) else "0"
