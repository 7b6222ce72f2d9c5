"""Correct labels of a prepared data set by a table that a person filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.corrections import EXCLUDE, check_corrections, corrected, count_changes
from diascope.data.duplicates.equal import join_duplicates
from diascope.data.duplicates.known import known_pairs
from diascope.data.fingerprint import measure
from diascope.data.manifest import ORIGINAL
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.data.sources.tables import (
    MAX_BYTES,
    as_text,
    check_is_table,
    name_columns,
    open_table,
)
from diascope.errors import SettingsError
from diascope.system.environment import dataset_folder
from diascope.system.files import file_digest, write_bytes
from diascope.system.places import on_disk
from diascope.system.reading import read_ordinary

REQUIRED = ("image_id", "new_label")
RECOUNTED = ("n_images", "n_pairs", "across_labels", "conflicts")
RECOUNTED_NEAR = ("n_near_pairs", "near_across_labels")


def labels(data: str, table: Path | str, *, correct_test: bool = False) -> Prepared:
    """Change labels of a prepared data set as a table says, and return the data set.

    Nothing is read or searched again: groups, splits and packed pixels stay, and so do runs, which
    have a copy of the labels that they learned from. ``diascope prepare`` without a table brings
    the first labels back.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    table : path
        As ``audit`` writes it, ``new_label`` filled in where a label is wrong: with a class, or
        with ``exclude``. A row may also repeat the label, which confirms it.
    correct_test : bool
        Also change labels of test images. Every report says so, with both figures.

    Raises
    ------
    DataError
        The table does not fit the data: all problems in one message, and nothing is changed.
    SettingsError
        It was applied before.
    DiascopeError
        The data set is not prepared, or the table cannot be read.
    """
    path = on_disk(table)
    prepared = load_prepared(dataset_name(data))
    filled_in, sha256 = _read(path)
    before = prepared.fingerprint.get("labels") or {"tables": [], "excluded": []}
    if sha256 in [one["sha256"] for one in before["tables"]]:
        raise SettingsError("These corrections have been made already.", where=path)
    classes = prepared.dataset.task.classes
    rows = check_corrections(
        filled_in, prepared.manifest, classes, correct_test=correct_test, where=path
    )
    manifest = corrected(prepared.manifest, rows)
    facts = {
        **prepared.fingerprint,
        **measure(manifest, classes),
        "duplicates": _recount(prepared, manifest),
        "labels": _facts(
            before,
            rows,
            manifest,
            table={"name": path.name, "sha256": sha256, "correct_test": correct_test},
        ),
    }
    done = Prepared(prepared.dataset, manifest, facts, prepared.pairs)
    kept = dataset_folder(prepared.dataset.name) / "labels" / f"{sha256}{path.suffix.lower()}"
    write_bytes(kept, read_ordinary(path, most_bytes=MAX_BYTES))
    done.save()
    return done


def _read(path: Path) -> tuple[pl.DataFrame, str]:
    """Read ``image_id, new_label`` and, where it is there, ``label``; digest the file."""
    check_is_table(path)
    table, _ = open_table(path)
    table = name_columns(
        table,
        (*REQUIRED, "label"),
        required=REQUIRED,
        where=path,
        fix="Fill in the column new_label of the suspects.csv that `diascope audit` wrote.",
    )
    names = [name for name in (*REQUIRED, "label") if name in table.columns]
    table = table.select(as_text(table, name, path) for name in names)
    return table, file_digest(path, most_bytes=MAX_BYTES)


def _facts(
    before: Mapping[str, Any],
    rows: pl.DataFrame,
    manifest: pl.DataFrame,
    *,
    table: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the fingerprint says of the labels, see docs/formats.md."""
    excluded = rows.filter(pl.col("new_label") == EXCLUDE)
    counts = excluded.group_by("split", "label").agg(pl.len().alias("n_images"))
    is_changed = pl.col("label") != pl.col(ORIGINAL)
    standing = manifest.filter(is_changed).rename({"label": "new_label", ORIGINAL: "label"})
    made = {
        **table,
        "n_confirmed": rows.filter(pl.col("label") == pl.col("new_label")).height,
        "changes": count_changes(rows),
    }
    return {
        "tables": [*before["tables"], made],
        "n_changed": standing.height,
        "changed": count_changes(standing),
        "excluded": [*before["excluded"], *counts.sort("split", "label").to_dicts()],
    }


def _recount(prepared: Prepared, manifest: pl.DataFrame) -> dict[str, Any]:
    """Count anew what duplicates say of the labels; the joined groups stay as they are."""
    found, pairs = prepared.fingerprint["duplicates"], prepared.pairs
    near, known = None, None
    if pairs is not None:
        known = known_pairs(manifest, pairs.filter(pl.col("kind") == "known"))
        if found.get("near_searched"):
            near = pairs.filter(pl.col("n_inliers").is_not_null())
    _, now = join_duplicates(manifest, near, known=known, accept_large=True)
    names = RECOUNTED + (RECOUNTED_NEAR if near is not None else ())
    return {**found, **{name: asdict(now)[name] for name in names}}
