"""Pairs of images that a data set is known to show twice, from the list that comes with it.

The list is the outcome of people looking at pairs. It holds whatever a search on some machine
finds, so these pairs are joined always, also where nothing is searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

PAIR = ("image_id", "other_id")
NONE = pl.DataFrame(schema=dict.fromkeys(PAIR, pl.String))


@dataclass(frozen=True)
class KnownPairs:
    """The pairs of a list, as far as their images are here."""

    pairs: pl.DataFrame  # ``image_id, other_id`` (text), in the order of the list, sorted in a pair
    n_absent: int  # listed pairs of which an image is not here, as in a part of the data set


def known_pairs(table: pl.DataFrame, listed: pl.DataFrame | None) -> KnownPairs:
    """Return the listed pairs whose images are both in a table.

    Parameters
    ----------
    table : DataFrame
        With ``image_id``.
    listed : DataFrame, optional
        With ``image_id, other_id``; None where no list comes with the data.
    """
    if listed is None:
        return KnownPairs(NONE, 0)
    here = table["image_id"].unique().implode()
    both = listed.filter(pl.col("image_id").is_in(here) & pl.col("other_id").is_in(here))
    ordered = both.select(
        pl.min_horizontal(*PAIR).alias("image_id"), pl.max_horizontal(*PAIR).alias("other_id")
    )
    return KnownPairs(ordered, listed.height - both.height)


def all_pairs(near: pl.DataFrame | None, known: pl.DataFrame) -> pl.DataFrame | None:
    """Return the pairs that a search found and the known ones, each once: ``image_id, other_id``.

    None where nothing was searched and nothing is known.
    """
    if near is None and not known.height:
        return None
    found = (NONE if near is None else near).select(
        pl.min_horizontal(*PAIR).alias("image_id"), pl.max_horizontal(*PAIR).alias("other_id")
    )
    return pl.concat([found, known.select(PAIR)]).unique(maintain_order=True)
