"""Decode every image once: what cannot be read is rejected, the others are measured.

Only images of 16 bits are decoded twice: the range of their values is that of all of them together,
and is not known before the last one was seen. Images are inspected in parts of a fixed size, here
or elsewhere (`diascope.data.inspect_part`), and the parts are put together in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.image import Decoding
from diascope.data.inspect_part import (
    PART_IMAGES,
    ROW,
    SCHEMA,
    MapParts,
    Part,
    PartTask,
    inspect_part,
)
from diascope.data.sources.folder import FileTree
from diascope.data.value_range import SeenValues
from diascope.data.visible import Visible
from diascope.data.window import FILE, Windows
from diascope.errors import DataError
from diascope.system.progress import Progress, ShowProgress, silent


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Features:
    """Where the features of the inspected images are."""

    paths: list[Path]  # files of `diascope.data.duplicates.described`
    # int64 (N,): the number, over all these files, of each row of the inspected table
    numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Inspected:
    """The images of a data set, once every one was decoded."""

    # The rows that can be used, with ``sha256, width, height, n_bytes, pixel_digest`` added.
    table: pl.DataFrame
    # The others, in the order of the table, and files that the tree left out.
    rejected: list[Rejected]
    decoding: Decoding  # with the range of 16-bit values, where there are any
    # ``n_nearly_empty, n_few_levels, nearly_all_alike, sixteen_bits, dicom``, see docs/formats.md.
    facts: dict[str, Any]
    features: Features | None  # where a folder for them was given


def inspect_images(
    files: FileTree,
    table: pl.DataFrame,
    *,
    alpha_background: str,
    window: str = FILE,
    is_listed: bool = False,
    spill: Path | None = None,
    map_parts: MapParts | None = None,
    progress: ShowProgress = silent,
) -> Inspected:
    """Read and decode every image of the table.

    Parameters
    ----------
    table : DataFrame
        With ``path``.
    is_listed : bool
        Whether somebody named the images in a table: what the tree left out is then none of them.
    spill : path, optional
        A folder for the features of all images, by which near-duplicates are found.
    map_parts : callable, optional
        Inspects parts elsewhere: takes what is to be done part by part and returns what
        `inspect_part` does, in the same order. The features are written to files in `spill`.
    """
    decoding = Decoding(alpha_background, window=window)
    parts = _Parts(files, table["path"], spill, map_parts, progress)
    everything = np.arange(table.height, dtype=np.uint32)
    found = parts.inspect(everything, decoding, "checking images")
    if len(found.deep):
        decoding = replace(decoding, value_range=found.seen.value_range)
        found = found.joined_with(parts.inspect(found.deep, decoding, "scaling 16-bit images"))
    usable, unusable = found.table.sort("row"), found.rejected.sort("row")
    names = table["path"].gather(unusable["row"])
    rejected = [Rejected(*pair) for pair in zip(names, unusable["reason"], strict=True)]
    if not is_listed:
        rejected += [Rejected(name, reason) for name, reason in files.left_out]
    return Inspected(
        table[usable["row"]].hstack(usable.select(*SCHEMA)),
        rejected,
        decoding,
        {
            **found.visible.facts(),
            "sixteen_bits": found.seen.facts() if found.seen.n_images else None,
            "dicom": found.windows.facts(),
        },
        Features(parts.features, usable["number"].to_numpy()) if spill else None,
    )


@dataclass(frozen=True)
class _Found:
    """What was found in many images, their rows being those of the whole table."""

    table: pl.DataFrame  # and ``number``: which picture of the files of features it is
    rejected: pl.DataFrame
    deep: NDArray[np.uint32]
    visible: Visible
    seen: SeenValues
    windows: Windows

    def joined_with(self, again: _Found) -> _Found:
        """Return both passes as one: the second has the images that waited for the first."""
        return _Found(
            pl.concat([self.table, again.table]),
            pl.concat([self.rejected, again.rejected]),
            again.deep,
            self.visible.plus(again.visible),
            self.seen,
            self.windows.plus(again.windows),
        )


class _Parts:
    """Cuts images into parts, has them inspected, and puts what was found together."""

    def __init__(
        self,
        files: FileTree,
        paths: pl.Series,
        spill: Path | None,
        map_parts: MapParts | None,
        progress: ShowProgress,
    ) -> None:
        self.features: list[Path] = []  # the files that were written until now
        self._n_described = 0
        self._files, self._paths, self._spill = files, paths, spill
        self._map_parts, self._progress = map_parts, progress

    def inspect(self, rows: NDArray[np.uint32], decoding: Decoding, what: str) -> _Found:
        """Inspect some rows of the table."""
        parts = [rows[start : start + PART_IMAGES] for start in range(0, len(rows), PART_IMAGES)]
        tables = [pl.DataFrame(schema={**ROW, **SCHEMA, "number": pl.Int64})]
        rejected = [pl.DataFrame(schema={**ROW, "reason": pl.String})]
        deep = [np.zeros(0, np.uint32)]
        visible, seen, windows = Visible(), SeenValues(), Windows(decoding.window)
        n_done = 0

        def show(n_images: int) -> None:
            self._progress(Progress(what, n_done + n_images, len(rows)))

        mapped = self._map(self._tasks(parts, decoding), show)
        for of_part, part in zip(parts, mapped, strict=True):
            numbers = pl.col("row").cast(pl.Int64) + self._n_described
            tables.append(_with_rows(part.table.with_columns(number=numbers), of_part))
            rejected.append(_with_rows(part.rejected, of_part))
            deep.append(of_part[part.deep])
            visible = visible.plus(part.visible)
            seen = seen.plus(part.seen)
            windows = windows.plus(part.windows)
            n_done += len(of_part)
            self._n_described += len(of_part)
            if self._map_parts is not None:
                show(0)
        return _Found(
            pl.concat(tables), pl.concat(rejected), np.concatenate(deep), visible, seen, windows
        )

    def _map(self, tasks: Iterable[PartTask], show: Callable[[int], None]) -> Iterable[Part]:
        if self._map_parts is not None:
            return self._map_parts(tasks)
        return (inspect_part(self._files, task, show=show) for task in tasks)

    def _tasks(self, parts: list[NDArray[np.uint32]], decoding: Decoding) -> Iterator[PartTask]:
        for rows in parts:
            features = None
            if self._spill is not None:
                features = self._spill / f"part-{len(self.features):05d}.features"
                self.features.append(features)
            paths = self._paths.gather(rows).to_list()
            yield PartTask(self._files.root, paths, decoding, features)


def _with_rows(found: pl.DataFrame, of_part: NDArray[np.uint32]) -> pl.DataFrame:
    """Return what was found in a part with the rows of the whole table."""
    return found.with_columns(row=pl.Series(of_part[found["row"].to_numpy()], dtype=pl.UInt32))


def check_rejected(
    table: pl.DataFrame, kept: pl.DataFrame, rejected: list[Rejected], *, largest_fraction: float
) -> None:
    """Check that few images were rejected and that no class lost all of its own.

    ``table`` and ``kept`` are the rows before and after, with ``label``; ``largest_fraction``, 0-1,
    is that of rejected images to go on with. The ``DataError`` has the first reasons.
    """
    first = "; ".join(f"{image.path}: {image.reason}" for image in rejected[:5])
    emptied = sorted(set(table["label"]) - set(kept["label"]))
    if emptied:
        raise DataError(
            f"No image of the class {', '.join(emptied)} can be read.",
            where=first,
            fix="Repair or replace the files.",
        )
    n_found = kept.height + len(rejected)
    if len(rejected) > largest_fraction * n_found:
        raise DataError(
            f"{len(rejected)} of {n_found} images cannot be read, "
            f"over the limit of {largest_fraction:.1%}.",
            where=first,
            fix="Repair or replace the files, or raise --max-rejected.",
        )
