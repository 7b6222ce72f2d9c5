"""The table that ``predict`` writes, a row a file; and that comes back to ``monitor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.card import Card
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction_files import FORMATS
from diascope.data.grouping import groups_from
from diascope.data.proposals import find_patterns
from diascope.data.sources.tables import MAX_BYTES, as_text, open_table, unreadable
from diascope.errors import DataError, GroupsUnknownError, SettingsError, SourceError
from diascope.metrics.prediction_sets import reasons_to_refer
from diascope.system.parts import read_parts
from diascope.system.reading import read_ordinary

BETWEEN, EMPTY_SET = "|", "(empty)"
NO_PREDICTION = "no prediction, see error"
OUT_OF_DISTRIBUTION = "out of distribution: prediction withheld"
NOT_WRITTEN = "Pass a table as `diascope predict` wrote it with this bundle; columns may be added."
DIGITS = 6  # behind the point, of probabilities, thresholds and OOD scores
STEP = 10.0**-DIGITS


def tabulate(
    probabilities: NDArray[np.float64],
    predicted: NDArray[np.integer],
    inside: NDArray[np.bool_] | None,
    classes: tuple[str, ...],
    *,
    ood_scores: NDArray[np.floating] | None = None,
) -> pl.DataFrame:
    """Return the predictions of images that were scored, a row an image.

    Parameters
    ----------
    probabilities : float64 (N, K), 0-1
        Written with `DIGITS`.
    predicted : int (N,)
        Class indices, by the decision rule of the bundle.
    inside : bool (N, K), optional
        Which classes are in the prediction set; None where the bundle has no sets, and it is
        unknown what is to be referred.
    ood_scores : float (N,), optional
        Above 1 the prediction is withheld. None where the bundle has no detector.

    Returns
    -------
    DataFrame
        ``predicted, probability_<class>, prediction_set, ood_score, refer, refer_reason``, see
        docs/formats.md. An image that is out of distribution has the last three alone.
    """
    columns = {"predicted": pl.Series([classes[index] for index in predicted], dtype=pl.String)}
    for number, name in enumerate(classes):
        rounded = np.round(probabilities[:, number].astype(np.float64), DIGITS)
        columns[f"probability_{name}"] = pl.Series(rounded, dtype=pl.Float64)
    sets = refer = reasons = scores = [None] * len(predicted)
    if inside is not None:
        reasons = [reason or None for reason in reasons_to_refer(inside, predicted).tolist()]
        sets = [set_text(row, classes) for row in inside]
        refer = ["yes" if reason else "no" for reason in reasons]
    columns["prediction_set"] = pl.Series(sets, dtype=pl.String)
    scores = scores if ood_scores is None else _rounded_ood_scores(ood_scores)
    columns["ood_score"] = pl.Series(scores, dtype=pl.Float64)
    columns["refer"] = pl.Series(refer, dtype=pl.String)
    columns["refer_reason"] = pl.Series(reasons, dtype=pl.String)
    return _withhold(pl.DataFrame(columns))


def _rounded_ood_scores(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Round scores so that those above the limit stay above it."""
    rounded = np.round(scores.astype(np.float64), DIGITS)
    return np.where(scores > 1, np.maximum(rounded, 1 + STEP), rounded)


def _withhold(table: pl.DataFrame) -> pl.DataFrame:
    """Take the predictions of images that are out of distribution out of the table."""
    is_out = (pl.col("ood_score") > 1).fill_null(value=False)
    predictions = pl.col("^(predicted|prediction_set|probability_.*)$")
    return table.with_columns(
        pl.when(~is_out).then(predictions).name.keep(),
        refer=pl.when(is_out).then(pl.lit("yes")).otherwise("refer"),
        refer_reason=pl.when(is_out).then(pl.lit(OUT_OF_DISTRIBUTION)).otherwise("refer_reason"),
    )


def set_text(inside: NDArray[np.bool_], classes: tuple[str, ...]) -> str:
    """Write one set of classes, in the order of the bundle.

    Examples
    --------
    >>> set_text(np.array([True, False, True]), ("mel", "nv", "bcc"))
    'mel|bcc'
    >>> set_text(np.array([False, False]), ("benign", "malignant"))
    '(empty)'
    """
    return BETWEEN.join(np.array(classes)[inside].tolist()) or EMPTY_SET


def with_failures(
    predictions: pl.DataFrame, paths: Sequence[str], errors: Sequence[str | None]
) -> pl.DataFrame:
    """Return a row a file: the predictions in turn where there is no error, else the error.

    A file without a prediction is one to refer: whoever takes only what is not referred is safe.
    The errors say why there is no prediction, or are None.
    """
    files = pl.DataFrame(
        {"path": pl.Series(paths, dtype=pl.String), "error": pl.Series(errors, dtype=pl.String)}
    )
    is_scored = files["error"].is_null()
    rows = is_scored.arg_true()
    table = files.with_row_index("row").join(
        predictions.with_columns(row=rows), on="row", how="left", maintain_order="left"
    )
    table = table.with_columns(
        refer=pl.when(is_scored).then("refer").otherwise(pl.lit("yes")),
        refer_reason=pl.when(is_scored).then("refer_reason").otherwise(pl.lit(NO_PREDICTION)),
    )
    return table.select("path", *predictions.columns, "error")


def with_origin(
    table: pl.DataFrame,
    card: Card,
    point: NamedPoint | None,
    *,
    groups: Sequence[str | None],
    splits: Sequence[str | None],
) -> pl.DataFrame:
    """Return the table of files with where each belongs, and how all were predicted.

    Parameters
    ----------
    point : NamedPoint, optional
        Where the classes were called; None for a bundle without a positive class.
    groups, splits : sequence (N,)
        The patient (lesion, slide) of each file, and the split of the training run that has it;
        None where that is not known.

    Returns
    -------
    DataFrame
        With ``group, split, threshold, operating_point`` and ``model`` (of `Card.digest`) before
        the error.
    """
    threshold = None if point is None else round(point.threshold, DIGITS)
    table = table.with_columns(
        group=pl.Series(groups, dtype=pl.String),
        split=pl.Series(splits, dtype=pl.String),
        threshold=pl.lit(threshold, pl.Float64),
        operating_point=pl.lit(None if point is None else point.name, pl.String),
        model=pl.lit(card.digest),
    )
    return table.select(pl.exclude("error"), "error")


def read_predictions(path: Path, card: Card) -> tuple[pl.DataFrame, Card]:
    """Read a table of ``predict``, and check that it is one of the bundle with this card.

    A folder is that of a finished job in parts, see `diascope.system.parts`.

    Returns
    -------
    table : DataFrame
        ``path, predicted, probability_<class>, ood_score, refer, error``, and ``group`` where the
        table has such a column with content; numbers are float64, all else is text.
    card : Card
        With the threshold that the table was made at.

    Raises
    ------
    SourceError, DataError, RunError
        The file cannot be read, lacks a column, or holds what ``predict`` does not write; or a part
        is missing.
    """
    table = _read_table(path)
    numbers = [*(f"probability_{name}" for name in card.classes), "ood_score"]
    texts = ["path", "predicted", "refer", "error"]
    missing = [name for name in (*texts, *numbers) if name not in table.columns]
    if missing:
        columns = ", ".join(missing[:5])
        raise DataError(f"The table has no column {columns}.", where=path, fix=NOT_WRITTEN)
    if not table.height:
        raise DataError("The table has no rows.", where=path)
    texts += [name for name in ("group", "model") if name in table.columns]
    numbers += ["threshold"] if "threshold" in table.columns else []
    try:
        table = table.select(
            *(as_text(table, name, path) for name in texts),
            *(pl.col(name).cast(pl.Float64) for name in numbers),
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            "A probability, a threshold or an ood_score is not a number.",
            where=path,
            fix=NOT_WRITTEN,
        ) from error
    card = _at_threshold_of(table, card, path)
    _check_predictions(table, card, path)
    if "group" in table.columns and table["group"].null_count() == table.height:
        table = table.drop("group")
    return table, card


def _read_table(path: Path) -> pl.DataFrame:
    if path.is_dir():
        return pl.concat([open_table(part)[0] for part in read_parts(path)], how="vertical_relaxed")
    if path.suffix.lower() not in FORMATS:
        raise SourceError(f"A table of predictions ends in {', '.join(FORMATS)}.", where=path)
    return _read_json(path) if path.suffix.lower() == ".json" else open_table(path)[0]


def _at_threshold_of(table: pl.DataFrame, card: Card, path: Path) -> Card:
    """Return the card with the threshold of the table, where it has such a column.

    Raises
    ------
    DataError
        The table is of another bundle, or its threshold is not one number from 0 to 1.
    """
    models, thresholds = _known(table, "model"), _known(table, "threshold")
    if models not in ([], [card.digest]):
        raise DataError(
            f"The table is of another bundle: its column model says {', '.join(models[:3])}, and "
            f"this is {card.digest}.",
            where=path,
            fix="Pass the run or bundle that predicted.",
        )
    if not thresholds or card.positive is None or card.threshold is None:
        return card
    if len(thresholds) > 1 or not 0 <= thresholds[0] <= 1:
        raise DataError(
            "The column threshold holds several numbers, or one that is no probability.",
            where=path,
            fix=NOT_WRITTEN,
        )
    is_default = abs(thresholds[0] - card.threshold) <= STEP
    return card if is_default else card.model_copy(update={"threshold": thresholds[0]})


def _known(table: pl.DataFrame, name: str) -> list[Any]:
    return table[name].drop_nulls().unique().to_list() if name in table.columns else []


def _read_json(path: Path) -> pl.DataFrame:
    try:
        content = read_ordinary(path, most_bytes=MAX_BYTES)
        return pl.read_json(content, infer_schema_length=None)
    except OSError as error:
        raise unreadable(error, path) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError("This is not a table in JSON.", where=path, fix=NOT_WRITTEN) from error


def with_groups(
    table: pl.DataFrame, path: Path, *, group_from: str | None, group: str | None, group_kind: str
) -> pl.DataFrame:
    """Return the table with the group of each image: its column, or from one of two options.

    Parameters
    ----------
    path : Path
        For messages.
    group_from : str, optional
        A rule for the paths, see `diascope.data.grouping`.
    group : str, optional
        ``"none"``: every image is from a different patient.

    Raises
    ------
    SettingsError
        There are two ways, the rule does not suit, or (`GroupsUnknownError`) there is no way.
    DataError
        Some rows have no group.
    """
    if group not in (None, "none"):
        raise SettingsError(
            f"--group takes none, and not {group!r}.",
            fix=f"Or name the {group_kind} of each row in a column group of the table.",
        )
    if sum([group_from is not None, group is not None, "group" in table.columns]) > 1:
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
        f"It is not known which of the {table.height:,} images are from one {group_kind}, and many "
        "images of one would count as many.",
        where=path,
        fix=f"Add a column group to the table, or pass --group-from RULE for the names, or "
        f"--group none if each image is from a different {group_kind}."
        + (f" In the names there is:{shown}" if shown else ""),
    )


def _check_predictions(table: pl.DataFrame, card: Card, path: Path) -> None:
    """Check that the predictions are such as this bundle makes."""
    predicted = table.filter(pl.col("predicted").is_not_null())
    has_reason = pl.col("error").is_not_null() | (pl.col("ood_score") > 1)
    counts = {
        "have no path": table["path"].null_count(),
        "have neither a prediction nor a reason for having none": table.filter(
            pl.col("predicted").is_null() & ~has_reason.fill_null(value=False)
        ).height,
        "have an ood_score that is not a number from 0": table.filter(
            pl.col("ood_score").is_nan() | (pl.col("ood_score") < 0)
        ).height,
        **_wrong_predictions(predicted, card),
    }
    problems = [f"{n:,} rows {what}" for what, n in counts.items() if n]
    problems += _wrong_columns(predicted, card)
    if problems:
        raise DataError(
            f"The table is not of this bundle, or was changed: {'; '.join(problems)}.",
            where=path,
            fix=NOT_WRITTEN,
        )


def _wrong_predictions(predicted: pl.DataFrame, card: Card) -> dict[str, int]:
    """Count the rows with impossible probabilities, or with a class by another decision rule."""
    n_unknown = predicted.filter(~pl.col("predicted").is_in(card.classes)).height
    probabilities = predicted.select(f"probability_{name}" for name in card.classes).to_numpy()
    most_off = STEP * len(card.classes)
    is_sound = (probabilities >= 0).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) < most_off)
    called = predicted["predicted"].to_numpy()[is_sound][:, None] == np.array(card.classes)
    towards = probabilities[is_sound] + np.where(called, STEP, -STEP)  # what rounding may hide
    n_other = int((~called[np.arange(len(called)), card.decide(towards)]).sum())
    return {
        "have a class that this bundle does not know": n_unknown,
        "have probabilities that do not add up to 1": int((~is_sound).sum()),
        "have another class than this bundle would predict": 0 if n_unknown else n_other,
    }


def _wrong_columns(predicted: pl.DataFrame, card: Card) -> list[str]:
    """Return which columns are empty that this bundle fills, or the other way round."""
    is_filled = {"refer": card.prediction_sets is not None, "ood_score": bool(card.ood_sha256)}
    return [
        f"{name} is {'empty in some rows' if filled else 'not empty'}"
        for name, filled in is_filled.items()
        if (predicted[name].null_count() if filled else predicted[name].count())
    ]
