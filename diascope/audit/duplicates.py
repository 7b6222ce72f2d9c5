"""Duplicates: count the pairs that ``prepare`` found, by where they lie."""

from __future__ import annotations

from typing import Any

import polars as pl

KINDS = ("equal", "near", "known")
# What the pairs of a kind are called where people read it.
KIND_NAMES = {
    "equal": "exact duplicates",
    "near": "near-duplicates",
    "known": "known duplicates",
}


def placed_pairs(pairs: pl.DataFrame, manifest: pl.DataFrame) -> pl.DataFrame:
    """Add to every pair where it lies, and whether its labels conflict.

    Parameters
    ----------
    pairs : DataFrame
        Of ``duplicates.parquet``: with the groups as they were before they were joined.
    manifest : DataFrame
        With ``image_id, label, split``.

    Returns
    -------
    DataFrame
        The pairs whose images are both in a split, with ``split, other_split, across_groups,
        across_splits, conflict``. Where one image is sealed, ``conflict`` is null: its label is
        not read.
    """
    known = manifest.select("image_id", "split", "label")
    other = known.rename({"image_id": "other_id", "split": "other_split", "label": "other_label"})
    found = pairs.drop("label", "other_label").join(
        known, on="image_id", how="inner", maintain_order="left"
    )
    found = found.join(other, on="other_id", how="inner", maintain_order="left")
    is_sealed = (pl.col("split") == "test") | (pl.col("other_split") == "test")
    differs = pl.col("label") != pl.col("other_label")
    return found.with_columns(
        across_groups=pl.col("group") != pl.col("other_group"),
        across_splits=pl.col("split") != pl.col("other_split"),
        conflict=pl.when(is_sealed).then(None).otherwise(differs),
    )


def count_pairs(placed: pl.DataFrame) -> list[dict[str, Any]]:
    """Count pairs: a row a kind, ready for JSON.

    Returns
    -------
    list of dict
        ``kind, within_groups, across_groups, across_splits, conflicts, sealed``; of ``sealed``
        pairs an image is a test image, and whether labels conflict is not looked at.
    """
    rows = []
    for kind in KINDS:
        of_kind = placed.filter(pl.col("kind") == kind)
        rows.append(
            {
                "kind": kind,
                "within_groups": of_kind.filter(~pl.col("across_groups")).height,
                "across_groups": of_kind.filter("across_groups").height,
                "across_splits": of_kind.filter("across_splits").height,
                "conflicts": of_kind.filter(pl.col("conflict").fill_null(value=False)).height,
                "sealed": of_kind["conflict"].null_count(),
            }
        )
    return rows
