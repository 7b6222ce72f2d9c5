"""Subgroups: into which ones metadata and size divide images, and how well each is recognised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.identities import identity_columns
from diascope.data.manifest import PLACES, metadata_columns
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.scored import ScoredImages
from diascope.metrics.subgroups import as_condition, judge_subgroups

MOST_RESAMPLES = 500  # of many subgroups; standard errors are then right to 3 %

MOST_SUBGROUPS = 20  # of one column
FEW_NUMBERS = 6  # so many different numbers are taken as they are
AGE_BANDS = (20.0, 40.0, 60.0, 80.0)  # years
AGES = {"age", "age_years", "patientage"}  # columns of years
NOT_GIVEN = "not given"
SIZE = "image size (long side)"
THIRDS = "thirds of the training images"
THIRDS_OF_THESE = "thirds of these images"


@dataclass(frozen=True)
class Division:
    """The subgroups of one column."""

    name: str  # Such as ``"age"``
    how: str  # How numbers were put into bands; empty for what was taken as it is
    subgroups: tuple[str, ...]  # In their order; those that hold no image are left out
    member_of: NDArray[np.intp]  # intp (N,): the number of the subgroup of each image


def subgroups_of(
    images: ScoredImages,
    manifest: pl.DataFrame,
    rows: NDArray[np.intp],
    resampling: Resampling,
    *,
    conditions: Mapping[str, Collection[int]] | None = None,
    is_external: bool = False,
) -> dict[str, Any]:
    """Judge predictions within each subgroup that metadata or image sizes make.

    Parameters
    ----------
    images : ScoredImages
    manifest : DataFrame
        With the images that were judged and, in train, those whose numbers decide where bands
        begin; where there is no train, all do.
    rows : intp (N,)
        The rows of the manifest that ``images`` is about.
    resampling : Resampling
    conditions : mapping of str to collection of int, optional
        Sets of class indices that a clinic asks for, such as all malignant ones, by their names:
        sensitivity and specificity for each are judged by subgroup as well.
    is_external : bool
        Whether nothing was trained on any of the data: all of them decide where bands begin.

    Returns
    -------
    dict
        Ready for JSON: ``divisions`` with ``name, how``, ``rows``, see `judge_subgroups`, and
        ``conditions``, such rows by the name of the condition; ``n_resamples``; and ``left_out``, a
        sentence for each column that was passed over.
    """
    has_train = "split" in manifest.columns and not is_external
    train = manifest.filter(pl.col("split") == "train") if has_train else manifest
    divisions, left_out = find_divisions(
        manifest[rows],
        train if train.height else manifest,
        identities=identity_columns(manifest),
        thirds=THIRDS_OF_THESE if is_external else THIRDS,
    )
    resampling = resampling.at_most(MOST_RESAMPLES)
    asked_for = {
        name: as_condition(images, condition, name)
        for name, condition in (conditions or {}).items()
    }
    return {
        "divisions": [
            {
                "name": one.name,
                "how": one.how,
                "rows": judge_subgroups(images, one.subgroups, one.member_of, resampling),
                "conditions": {
                    name: judge_subgroups(asked, one.subgroups, one.member_of, resampling)
                    for name, asked in asked_for.items()
                },
            }
            for one in divisions
        ],
        "n_resamples": resampling.n_resamples,
        "left_out": left_out,
    }


def find_divisions(
    table: pl.DataFrame,
    known: pl.DataFrame,
    *,
    identities: Mapping[str, str],
    thirds: str = THIRDS,
) -> tuple[list[Division], list[str]]:
    """Divide images by each column of metadata, and by their size.

    Parameters
    ----------
    table : DataFrame
        The rows of a manifest that are divided, N.
    known : DataFrame
        Rows whose numbers decide where bands begin: those of train.
    identities : mapping of str to str
        The columns to keep out, each with the reason, see `diascope.data.identities`.
    thirds : str
        Of what bands of numbers are thirds.

    Returns
    -------
    divisions : list of Division
        Of columns that part the images at all.
    left_out : list of str
        A sentence for each column that is an identity or has too many values.
    """
    divisions, left_out = [], []
    for name in metadata_columns(table):
        if name in identities:
            left_out.append(f"{name} looks like an identity ({identities[name]}) and is kept out.")
            continue
        if name.lower() in PLACES:
            left_out.append(f"{name} is a place in an image and no attribute of anybody.")
            continue
        found = _divide(name, table[name], known[name], thirds)
        if found is None:
            left_out.append(f"{name} has over {MOST_SUBGROUPS} different values.")
        else:
            divisions.append(found)
    sizes = [
        part.select(pl.max_horizontal("width", "height")).to_series() for part in (table, known)
    ]
    divisions.append(_bands(SIZE, sizes[0], _thirds(sizes[1]), unit=" px", how=thirds))
    return [one for one in divisions if len(one.subgroups) > 1], left_out


def _divide(name: str, column: pl.Series, known: pl.Series, thirds: str) -> Division | None:
    """Divide one column; None where it has too many values."""
    if column.dtype.is_nested():
        return None
    numbers, known_numbers = _numbers(column), _numbers(known)
    if numbers is not None and known_numbers is not None:
        if name.lower() in AGES:
            return _bands(name, numbers, AGE_BANDS, unit=" years", how="bands of 20 years")
        if known_numbers.n_unique() > FEW_NUMBERS:
            return _bands(name, numbers, _thirds(known_numbers), unit="", how=thirds)
    texts = column.cast(pl.String).fill_null(NOT_GIVEN).replace("", NOT_GIVEN)
    if texts.n_unique() > MOST_SUBGROUPS:
        return None
    return _named(
        name, "", texts.to_list(), sorted(set(texts), key=lambda text: (text == NOT_GIVEN, text))
    )


def _numbers(column: pl.Series) -> pl.Series | None:
    """Return a column as numbers, NaN as null; None where it holds something else."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_nan(None)
    if column.dtype != pl.String:
        return None
    numbers = column.cast(pl.Float64, strict=False).fill_nan(None)
    is_number = numbers.is_not_null() | column.is_null() | column.is_in(["", "NaN", "nan"])
    return numbers if numbers.is_not_null().any() and is_number.all() else None


def _thirds(known: pl.Series) -> tuple[float, ...]:
    """Return two numbers that part the known ones into thirds, or fewer where they coincide."""
    values = known.drop_nulls().cast(pl.Float64)
    if not len(values):
        return ()
    cuts = np.quantile(values.to_numpy(), (1 / 3, 2 / 3))
    return tuple(sorted({float(cut) for cut in np.round(cuts, 6) if cut > float(values.min())}))  # pyright: ignore[reportArgumentType]


def _bands(
    name: str, numbers: pl.Series, cuts: Sequence[float], *, unit: str, how: str
) -> Division:
    """Put numbers into bands: below the first cut, from one cut to the next, from the last on."""
    names = _band_names(cuts, unit)
    values = numbers.cast(pl.Float64).fill_null(np.nan).to_numpy()
    places = np.searchsorted(np.asarray(cuts), values, side="right")
    texts = [NOT_GIVEN if np.isnan(v) else names[p] for v, p in zip(values, places, strict=True)]
    return _named(name, how, texts, [*names, NOT_GIVEN])


def _band_names(cuts: Sequence[float], unit: str) -> list[str]:
    if not cuts:
        return ["any"]
    shown = [f"{cut:g}" for cut in cuts]
    between = [f"{low} to {high}{unit}" for low, high in pairwise(shown)]
    return [f"below {shown[0]}{unit}", *between, f"{shown[-1]}{unit} or more"]


def _named(name: str, how: str, texts: list[str], order: Sequence[str]) -> Division:
    there = set(texts)
    subgroups = tuple(text for text in order if text in there)
    number = {text: n for n, text in enumerate(subgroups)}
    return Division(name, how, subgroups, np.array([number[text] for text in texts], dtype=np.intp))
