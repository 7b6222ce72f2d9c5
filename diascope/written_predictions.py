"""Tables of ``predict`` that come back: read, checked, and with a group for every row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from diascope.card import Card
from diascope.data.grouping import find_patterns, groups_from
from diascope.datasets.table import as_text, open_table
from diascope.errors import DataError, GroupsUnknownError, SettingsError, SourceError
from diascope.prediction_table import FORMATS

NOT_WRITTEN = "Pass a table as `diascope predict` wrote it with this bundle; columns may be added."


def read_answers(path: Path, card: Card) -> pl.DataFrame:
    """Read a table of ``predict``, and check that it is one of this bundle.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.parquet`` or ``.json``.
    card : Card
        Of the bundle.

    Returns
    -------
    DataFrame
        ``path, predicted, probability_<class>, unlike_training, refer, error``, and ``group`` where
        the table has such a column; numbers are float64, all else is text.

    Raises
    ------
    SourceError, DataError
        The file cannot be read, lacks a column, or holds what ``predict`` does not write.
    """
    if path.suffix.lower() not in FORMATS:
        raise SourceError(f"A table of predictions ends in {', '.join(FORMATS)}.", where=path)
    table = _read_json(path) if path.suffix.lower() == ".json" else open_table(path)[0]
    numbers = [*(f"probability_{name}" for name in card.classes), "unlike_training"]
    texts = ["path", "predicted", "refer", "error"]
    missing = [name for name in (*texts, *numbers) if name not in table.columns]
    if missing:
        columns = ", ".join(missing[:5])
        raise DataError(f"The table has no column {columns}.", where=path, fix=NOT_WRITTEN)
    if not table.height:
        raise DataError("The table has no rows.", where=path)
    texts += ["group"] if "group" in table.columns else []
    try:
        table = table.select(
            *(as_text(table, name, path) for name in texts),
            *(pl.col(name).cast(pl.Float64) for name in numbers),
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            "A probability, or an unlike_training, is no number.", where=path, fix=NOT_WRITTEN
        ) from error
    _check_answers(table, card, path)
    return table


def with_groups(
    table: pl.DataFrame, path: Path, *, group_from: str | None, group: str | None, group_kind: str
) -> pl.DataFrame:
    """Return the table with the group of each image, from whoever says it.

    Parameters
    ----------
    table : DataFrame
        Of `read_answers`.
    path : Path
        For messages.
    group_from : str, optional
        A rule for the paths, see `diascope.data.grouping`.
    group : str, optional
        ``"none"``: every image is of another patient.
    group_kind : str
        What a group is.

    Raises
    ------
    SettingsError
        It is said twice, the rule does not suit, or (`GroupsUnknownError`) nobody says it.
    DataError
        Some rows have no group.
    """
    if group not in (None, "none"):
        raise SettingsError(
            f"--group takes none, and not {group!r}.",
            fix=f"Or name the {group_kind} of each row in a column group of the table.",
        )
    said = [group_from is not None, group is not None, "group" in table.columns]
    if sum(said) > 1:
        raise SettingsError(
            "The groups are given twice: by a column group, --group-from or --group none.",
            where=path,
            fix="Keep one of them.",
        )
    if group_from is not None:
        return table.with_columns(group=groups_from(table["path"].to_list(), group_from))
    if group is not None:
        return table.with_columns(group=pl.int_range(pl.len()).cast(pl.String))
    if "group" in table.columns:
        n_without = table["group"].null_count()
        if n_without:
            raise DataError(f"{n_without:,} rows have no group.", where=path, fix="Fill them in.")
        return table
    patterns = find_patterns(table["path"].to_list(), 1)
    shown = "".join(f"\n      --group-from '{one.rule}': {one}" for one in patterns)
    raise GroupsUnknownError(
        f"Nothing says which of the {table.height:,} images are of one {group_kind}, and many "
        "images of one would pass for many.",
        where=path,
        fix=f"Add a column group to the table, or pass --group-from RULE for the names, or "
        f"--group none if each image is of another {group_kind}."
        + (f" In the names there is:{shown}" if shown else ""),
    )


def _read_json(path: Path) -> pl.DataFrame:
    try:
        return pl.read_json(path, infer_schema_length=None)
    except OSError as error:
        raise SourceError(f"The table cannot be read: {error.strerror}.", where=path) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError("This is no table in JSON.", where=path, fix=NOT_WRITTEN) from error


def _check_answers(table: pl.DataFrame, card: Card, path: Path) -> None:
    """Check that the answers are such as this bundle gives."""
    answered = table.filter(pl.col("predicted").is_not_null())
    has_reason = pl.col("error").is_not_null() | (pl.col("unlike_training") > 1)
    counts = {
        "have no path": table["path"].null_count(),
        "have neither an answer nor a reason for having none": table.filter(
            pl.col("predicted").is_null() & ~has_reason.fill_null(value=False)
        ).height,
        "have an unlike_training that is no number from 0": table.filter(
            pl.col("unlike_training").is_nan() | (pl.col("unlike_training") < 0)
        ).height,
        **_strange_answers(answered, card),
    }
    problems = [f"{n:,} rows {what}" for what, n in counts.items() if n]
    problems += _strange_columns(answered, card)
    if problems:
        raise DataError(
            f"The table is not of this bundle, or was changed: {'; '.join(problems)}.",
            where=path,
            fix=NOT_WRITTEN,
        )


def _strange_answers(answered: pl.DataFrame, card: Card) -> dict[str, int]:
    """Count the rows whose probabilities are none, or that are called by another rule."""
    n_unknown = answered.filter(~pl.col("predicted").is_in(card.classes)).height
    probabilities = answered.select(f"probability_{name}" for name in card.classes).to_numpy()
    is_sound = (probabilities >= 0).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) < 1e-6)
    called = np.array(card.classes)[card.decide(probabilities[is_sound])]
    n_other = int((called != answered["predicted"].to_numpy()[is_sound]).sum())
    return {
        "are called a class that this bundle does not know": n_unknown,
        "have probabilities that do not add up to 1": int((~is_sound).sum()),
        "are called otherwise than this bundle would": 0 if n_unknown else n_other,
    }


def _strange_columns(answered: pl.DataFrame, card: Card) -> list[str]:
    """Say which columns are empty that this bundle fills, or the other way round."""
    is_filled = {
        "refer": card.prediction_sets is not None,
        "unlike_training": bool(card.familiar_sha256),
    }
    return [
        f"{name} is {'empty in some rows' if filled else 'not empty'}"
        for name, filled in is_filled.items()
        if (answered[name].null_count() if filled else answered[name].count())
    ]
