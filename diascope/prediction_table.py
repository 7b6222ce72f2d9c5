"""The table that ``predict`` writes for people and other programs: a row a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import atomic_path
from diascope.errors import SourceError
from diascope.metrics.estimate import counted
from diascope.metrics.referral import reasons_to_refer

FORMATS = (".csv", ".parquet", ".json")
BETWEEN, EMPTY_SET = "|", "(empty)"
NO_ANSWER = "no answer, see error"
UNLIKE = "refused: unlike the training images"
FAILURES_SHOWN = 5


def answers_table(
    probabilities: NDArray[np.float64],
    called: NDArray[np.integer],
    inside: NDArray[np.bool_] | None,
    classes: tuple[str, ...],
    *,
    unlikeness: NDArray[np.floating] | None = None,
) -> pl.DataFrame:
    """Return what is said of images that were scored, a row an image.

    Parameters
    ----------
    probabilities : float64 (N, K), 0-1
    called : int (N,)
        Class indices, by the decision rule of the bundle.
    inside : bool (N, K), optional
        Which classes are in the prediction set; None where the bundle has no sets, and nobody can
        tell what is to be referred.
    classes : tuple of str (K,)
    unlikeness : float (N,), optional
        How unlike the training images each is; above 1 its answer is withheld. None where the
        bundle cannot tell.

    Returns
    -------
    DataFrame
        ``predicted, probability_<class>, prediction_set, unlike_training, refer, refer_reason``,
        see docs/formats.md. What is refused has nothing but the last three.
    """
    columns = {"predicted": pl.Series([classes[index] for index in called], dtype=pl.String)}
    for number, name in enumerate(classes):
        columns[f"probability_{name}"] = pl.Series(probabilities[:, number], dtype=pl.Float64)
    sets = refer = reasons = [None] * len(called)
    if inside is not None:
        found = reasons_to_refer(inside, called).tolist()
        sets = [set_text(row, classes) for row in inside]
        refer = ["yes" if reason else "no" for reason in found]
        reasons = [reason or None for reason in found]
    columns["prediction_set"] = pl.Series(sets, dtype=pl.String)
    told = [None] * len(called) if unlikeness is None else unlikeness
    columns["unlike_training"] = pl.Series(told, dtype=pl.Float64)
    columns["refer"] = pl.Series(refer, dtype=pl.String)
    columns["refer_reason"] = pl.Series(reasons, dtype=pl.String)
    return _withhold(pl.DataFrame(columns))


def _withhold(answers: pl.DataFrame) -> pl.DataFrame:
    """Take back what is said of images that are unlike the training images."""
    is_refused = (pl.col("unlike_training") > 1).fill_null(value=False)
    said = pl.col("^(predicted|prediction_set|probability_.*)$")
    return answers.with_columns(
        pl.when(~is_refused).then(said).name.keep(),
        refer=pl.when(is_refused).then(pl.lit("yes")).otherwise("refer"),
        refer_reason=pl.when(is_refused).then(pl.lit(UNLIKE)).otherwise("refer_reason"),
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
    answers: pl.DataFrame, paths: Sequence[str], errors: Sequence[str | None]
) -> pl.DataFrame:
    """Return a row a file: the answers in turn where there is no error, else the error.

    A file without an answer is one to refer: whoever takes only what is not referred is safe.

    Parameters
    ----------
    answers : DataFrame
        Of `answers_table`.
    paths : sequence of str (N,)
    errors : sequence (N,)
        Why there is no answer, or None.
    """
    files = pl.DataFrame(
        {"path": pl.Series(paths, dtype=pl.String), "error": pl.Series(errors, dtype=pl.String)}
    )
    is_answered = files["error"].is_null()
    rows = is_answered.arg_true()
    table = files.with_row_index("row").join(
        answers.with_columns(row=rows), on="row", how="left", maintain_order="left"
    )
    table = table.with_columns(
        refer=pl.when(is_answered).then("refer").otherwise(pl.lit("yes")),
        refer_reason=pl.when(is_answered).then("refer_reason").otherwise(pl.lit(NO_ANSWER)),
    )
    return table.select("path", *answers.columns, "error")


def write_table(table: pl.DataFrame, path: Path) -> Path:
    """Write the table in the format that the name ends in, one of `FORMATS`."""
    write = {".csv": table.write_csv, ".parquet": table.write_parquet, ".json": table.write_json}
    with atomic_path(path) as temporary:
        write[path.suffix.lower()](temporary)
    return path


def read_columns(path: Path, names: Sequence[str]) -> pl.DataFrame:
    """Read columns of text, whatever the first rows look like."""
    if path.suffix.lower() == ".csv":
        return pl.read_csv(path, columns=list(names), infer_schema=False).select(names)
    if path.suffix.lower() == ".parquet":
        return pl.read_parquet(path, columns=list(names)).select(names)
    return pl.read_json(path, infer_schema_length=None).select(names)


def check_all_answered(path: Path) -> None:
    """Check that every file has an answer, in a table that was written.

    Raises
    ------
    SourceError
        Some have none: how many, the first of them with the reasons, and where the rest is.
    """
    table = read_columns(path, ["path", "error"])
    failed = table.drop_nulls("error")
    if not failed.height:
        return
    shown = [f"{name}: {reason}" for name, reason in failed.head(FAILURES_SHOWN).iter_rows()]
    more = failed.height - FAILURES_SHOWN
    n_answered = table.height - failed.height
    rest = f"{path} has the other {n_answered}. " if n_answered else ""
    raise SourceError(
        f"{failed.height:,} of {counted(table.height, 'file')} could not be predicted.",
        where="; ".join(shown) + (f"; and {more} more" if more > 0 else ""),
        fix=f"{rest}Mend these files or leave them out; the column error of {path} says why.",
    )
