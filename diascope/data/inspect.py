"""Decode every image once: what cannot be read is rejected, the others are measured.

Only images of 16 bits are decoded twice: the range of their values is that of all of them together,
and is not known before the last one was seen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
from numpy.typing import NDArray

from diascope.data.budget import ROOM
from diascope.data.dicom.opened import DicomImage
from diascope.data.duplicates.equal import pixel_digest
from diascope.data.image import Decoding, open_image, values_in
from diascope.data.sources.folder import FileTree
from diascope.data.value_range import SeenValues, Values
from diascope.data.visible import Look, Visible, look_at
from diascope.data.window import FILE, Windows
from diascope.errors import DataError, ImageError, SourceError
from diascope.system.progress import Progress, ShowProgress, silent

CHUNK = 256  # images read between two reports of progress
SCHEMA = {
    "sha256": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "n_bytes": pl.Int64,
    "pixel_digest": pl.String,
}
See = Callable[[str, NDArray], object]  # is given the path and the pixels of an image


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be used, and why."""

    path: str
    reason: str


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


class _Row(NamedTuple):
    sha256: str
    width: int
    height: int
    n_bytes: int
    pixel_digest: str | None


class _Facts(NamedTuple):
    row: _Row
    look: Look
    states_window: bool | None  # of a DICOM image with grey values


def inspect_images(
    files: FileTree,
    table: pl.DataFrame,
    *,
    alpha_background: str,
    window: str = FILE,
    see: See | None = None,
    progress: ShowProgress = silent,
) -> Inspected:
    """Read and decode every image of the table.

    Parameters
    ----------
    table : DataFrame
        With ``path``.
    see : callable, optional
        Is given each image that can be read, from several threads: its path and its pixels,
        uint8 (H, W, 3), 0-255.
    """
    paths, decoding = table["path"].to_list(), Decoding(alpha_background, window=window)
    visible, seen, windows = Visible(), SeenValues(), Windows(window)

    def look(path: str) -> _Facts | Values | Rejected:
        return _look(files, path, decoding, see)

    def note(one: _Facts | Values | Rejected) -> _Row | Rejected | None:
        if isinstance(one, Values):
            seen.add(one)
            return None
        if isinstance(one, _Facts):
            visible.add(one.look)
            windows.add(one.states_window)
            return one.row
        return one

    def look_at_all(paths: list[str], what: str) -> list[_Row | Rejected | None]:
        found = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(paths), CHUNK):
                found += map(note, pool.map(look, paths[start : start + CHUNK]))
                progress(Progress(what, len(found), len(paths)))
        return found

    found = look_at_all(paths, "checking images")
    deep = [row for row, one in enumerate(found) if one is None]
    if deep:
        decoding = Decoding(alpha_background, seen.value_range, window)
        again = look_at_all([paths[row] for row in deep], "scaling 16-bit images")
        for row, one in zip(deep, again, strict=True):
            found[row] = one
    rows = [one for one in found if isinstance(one, _Row)]
    usable = pl.Series([isinstance(one, _Row) for one in found], dtype=pl.Boolean)
    rejected = [one for one in found if isinstance(one, Rejected)]
    rejected += [Rejected(name, reason) for name, reason in files.left_out]
    return Inspected(
        table.filter(usable).hstack(pl.DataFrame(rows, schema=SCHEMA, orient="row")),
        rejected,
        decoding,
        {
            **visible.facts(),
            "sixteen_bits": seen.facts() if deep else None,
            "dicom": windows.facts(),
        },
    )


def _look(
    files: FileTree, path: str, decoding: Decoding, see: See | None
) -> _Facts | Values | Rejected:
    """Look at one image, or only at its values while their range is not known.

    One that cannot be read never costs the others.
    """
    try:
        content = files.read(path)
        image = open_image(content)
        with ROOM.taken(image.decoded_bytes):
            if image.is_deep and decoding.value_range is None:
                return values_in(image)
            pixels = decoding.pixels(image)
            height, width, _ = pixels.shape
            sha256 = hashlib.sha256(content).hexdigest()
            row = _Row(sha256, width, height, len(content), pixel_digest(pixels))
            if see is not None:
                see(path, pixels)
            states = image.states_window if isinstance(image, DicomImage) else None
            return _Facts(row, look_at(pixels), states)
    except (ImageError, SourceError) as error:
        return Rejected(path, error.problem)
    except MemoryError:
        return Rejected(path, "too big for the memory that is free")


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
