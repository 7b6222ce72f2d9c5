"""Frames of DICOM files among a user's own images: all of a file, or one; never of two groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import polars as pl

from diascope.data.sources.dicom import OTHER_FRAME, Frames, choose_frames, file_of
from diascope.errors import DataError
from diascope.system.words import first_of

SHOWN = 5


def files_of_frames(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the frames of each file that has several."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if (file := file_of(name)) != name:
            found[file].append(name)
    return dict(found)


def with_frames(table: pl.DataFrame, names: Sequence[str], frames: Frames) -> pl.DataFrame:
    """Return a table with a row a frame, where a path is that of a file of several.

    What the table says of the file is said of every frame.
    """
    of_file = {
        file: choose_frames(several, frames) for file, several in files_of_frames(names).items()
    }
    if not any(path in of_file for path in table["path"]):
        return table
    paths = [of_file.get(path, [path]) for path in table["path"]]
    table = table.with_columns(file="path", path=pl.Series(paths, dtype=pl.List(pl.String)))
    table = table.explode("path")
    if "image_id" in table.columns:
        frame = pl.col("path").str.extract("(#frame=[0-9]+)$").fill_null("")
        is_new = pl.col("path") != pl.col("file")
        table = table.with_columns(
            image_id=pl.when(is_new).then(pl.col("image_id") + frame).otherwise("image_id")
        )
    table = table.drop("file")
    if table["path"].is_duplicated().any():
        twice = table.filter(pl.col("path").is_duplicated())["path"]
        raise DataError("A file and frames of it are in the table.", where=twice[0])
    return table


def other_frames(names: Sequence[str], taken: Sequence[str]) -> dict[str, list[str]]:
    """Return the frames that were not asked for, of files of which one was; by kind."""
    known, files = set(taken), {file_of(name) for name in taken}
    others = [name for name in names if name not in known and file_of(name) in files]
    return {OTHER_FRAME: others} if others else {}


def check_groups_of_frames(table: pl.DataFrame, *, where: object) -> None:
    """Check that the frames of each file are of one group: ``DataError`` if not."""
    files = pl.Series("path", map(file_of, table["path"]), dtype=pl.String)
    groups = table.select(files, "group")
    several = groups.group_by("path").agg(pl.col("group").n_unique()).filter(pl.col("group") > 1)
    if several.height:
        raise DataError(
            f"Frames of {several.height:,} files are of more than one group.",
            where=f"{where}: {first_of(several['path'].sort().to_list(), SHOWN)}",
            fix="A file is of one patient: give its frames one group.",
        )
