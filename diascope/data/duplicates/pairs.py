"""List the pairs of equal and of nearly equal pictures of a data set, by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diascope.data.duplicates.described import DescribedPictures
from diascope.data.duplicates.known import NONE
from diascope.data.duplicates.near import NUMBERS, Aside, find_near_duplicates
from diascope.data.image import Decoding
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import FileTree
from diascope.system.progress import ShowProgress, silent

NUMBER = "described_number"


def near_pairs(
    files: FileTree,
    table: pl.DataFrame,
    decoding: Decoding,
    *,
    described: Sequence[Path] = (),
    spill: Path | None = None,
    progress: ShowProgress = silent,
) -> pl.DataFrame:
    """Find the pairs of nearly equal pictures that are of different groups.

    Of equal pictures only the first is looked at, and featureless ones are left out.

    Parameters
    ----------
    files : FileTree
        Where the paths are read from.
    table : DataFrame
        With ``image_id, path, group, sha256, pixel_digest``; where the pictures were described
        before, `NUMBER`: which one of the pictures of these files each is.
    decoding : Decoding
        How files become pixels.
    described : sequence of Path
        The files with the features of the pictures, where they were described before.
    spill : path, optional
        A folder for what does not fit into memory.

    Returns
    -------
    DataFrame
        ``image_id, other_id`` and the numbers of `find_near_duplicates`.
    """
    rows = table.drop_nulls("pixel_digest").sort("image_id")
    rows = rows.unique("pixel_digest", keep="first", maintain_order=True)
    pictures = Pictures(files, rows, decoding)
    groups = rows["group"].rank("dense").to_numpy()
    aside = None
    if described:
        aside = Aside(DescribedPictures(described), rows[NUMBER].to_numpy())
    found = find_near_duplicates(
        pictures.__getitem__, groups, aside=aside, spill=spill, progress=progress
    )
    ids = rows["image_id"]
    return found.select(
        ids.gather(found["first"]).alias("image_id"),
        ids.gather(found["second"]).alias("other_id"),
        *NUMBERS,
    )


def equal_pairs(table: pl.DataFrame) -> pl.DataFrame:
    """Pair each picture that has equal ones with the first of them: ``image_id, other_id``."""
    pictures = table.drop_nulls("pixel_digest").sort("image_id")
    first = pl.col("image_id").first().over("pixel_digest")
    pairs = pictures.select(first.alias("image_id"), pl.col("image_id").alias("other_id"))
    return pairs.filter(pl.col("image_id") != pl.col("other_id"))


def list_pairs(
    table: pl.DataFrame, near: pl.DataFrame | None, known: pl.DataFrame = NONE
) -> pl.DataFrame:
    """List all pairs for ``duplicates.parquet``, equal ones first; see docs/formats.md.

    A pair that is known and was found as well is listed once, as known, with its numbers.

    Parameters
    ----------
    table : DataFrame
        With ``image_id, label, group, pixel_digest``, before groups were joined.
    near : DataFrame, optional
        Of `near_pairs`.
    known : DataFrame, optional
        ``image_id, other_id`` of `diascope.data.duplicates.known.known_pairs`.
    """
    pairs = equal_pairs(table).with_columns(kind=pl.lit("equal"))
    if near is not None or known.height:
        pairs = pl.concat([pairs, _near_and_known(near, known)], how="diagonal")
    of_image = table.select("image_id", "label", "group")
    pairs = pairs.join(of_image, on="image_id", how="left", maintain_order="left")
    other = of_image.rename(
        {"image_id": "other_id", "label": "other_label", "group": "other_group"}
    )
    return pairs.join(other, on="other_id", how="left", maintain_order="left")


def _near_and_known(near: pl.DataFrame | None, known: pl.DataFrame) -> pl.DataFrame:
    ends = ["image_id", "other_id"]
    if near is None:
        return known.with_columns(kind=pl.lit("known"))
    kinds = known.with_columns(kind=pl.lit("known"))
    found = near.join(kinds, on=ends, how="left", maintain_order="left")
    found = found.with_columns(pl.col("kind").fill_null("near"))
    rest = kinds.join(near, on=ends, how="anti", maintain_order="left")
    return pl.concat([found, rest], how="diagonal")
