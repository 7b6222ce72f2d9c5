"""Inspect one part of a data set: plain data in, plain data out, so that any process can do it.

What is found is the same however many threads or processes work, and no object of Python is kept
for an image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.dicom.opened import DicomImage
from diascope.data.duplicates.described import Described, describe_picture, write_described
from diascope.data.duplicates.equal import pixel_digest
from diascope.data.image import Decoding, opened, values_in
from diascope.data.sources.folder import FileTree
from diascope.data.value_range import SeenValues, Values
from diascope.data.visible import Look, Visible, look_at
from diascope.data.window import Windows
from diascope.errors import ImageError, SourceError
from diascope.system.environment import release_freed_memory
from diascope.system.places import Place

PART_IMAGES = 2048  # whose features are in memory until they are written: 43 KB each at most
CHUNK = 256  # images inspected between two reports of progress
SCHEMA = {
    "sha256": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "n_bytes": pl.Int64,
    "pixel_digest": pl.String,
}
ROW = {"row": pl.UInt32}  # the number of an image in its part


@dataclass(frozen=True)
class PartTask:
    """Some images to be inspected; it can be sent to another process."""

    root: Place  # of the tree of files, as `diascope.data.sources.folder.open_files` takes it
    paths: Sequence[str]  # in the tree
    # How files become pixels. Without a range, the values of 16-bit images are only looked at.
    decoding: Decoding
    features: Path | None  # the file to write the features of the images to, if they are wanted


@dataclass(frozen=True)
class Part:
    """What was found in some images; it can be sent to another process."""

    table: pl.DataFrame  # `ROW` and `SCHEMA`: the images that can be used
    rejected: pl.DataFrame  # `ROW` and ``reason``: those that cannot
    deep: NDArray[np.uint32]  # rows of 16-bit images of which only the values were looked at
    visible: Visible
    seen: SeenValues
    windows: Windows


MapParts = Callable[[Iterable[PartTask]], Iterable[Part]]  # in the order of the tasks


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
    described: Described | None


def inspect_part(
    files: FileTree,
    task: PartTask,
    *,
    n_threads: int | None = None,
    show: Callable[[int], None] | None = None,
) -> Part:
    """Read and decode every image of a part; write their features where the task says so.

    Parameters
    ----------
    files : FileTree
        The open tree of ``task.root``.
    n_threads : int, optional
        As many as there are cores by default.
    show : callable, optional
        Is told now and then how many images of the part are done.

    Raises
    ------
    SourceError
        The features cannot be written.
    """
    windows = Windows(task.decoding.window)
    visible, seen = Visible(), SeenValues()
    numbers: list[int] = []
    rows: list[_Row] = []
    rejected: list[tuple[int, str]] = []
    deep: list[int] = []
    described: list[Described | None] = []

    def look(path: str) -> _Facts | Values | str:
        return _look(files, path, task.decoding, is_described=task.features is not None)

    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool:
        for start in range(0, len(task.paths), CHUNK):
            chunk = pool.map(look, task.paths[start : start + CHUNK])
            for number, found in enumerate(chunk, start=start):
                if isinstance(found, _Facts):
                    numbers.append(number)
                    rows.append(found.row)
                    visible.add(found.look)
                    windows.add(found.states_window)
                elif isinstance(found, Values):
                    deep.append(number)
                    seen.add(found)
                else:
                    rejected.append((number, found))
                described.append(found.described if isinstance(found, _Facts) else None)
            if show is not None:
                show(min(start + CHUNK, len(task.paths)))
    if task.features is not None:
        write_described(task.features, described)
    described.clear()
    release_freed_memory()
    return Part(
        pl.DataFrame({"row": numbers}, schema=ROW).hstack(
            pl.DataFrame(rows, schema=SCHEMA, orient="row")
        ),
        pl.DataFrame(rejected, schema={**ROW, "reason": pl.String}, orient="row"),
        np.array(deep, np.uint32),
        visible,
        seen,
        windows,
    )


def _look(
    files: FileTree, path: str, decoding: Decoding, *, is_described: bool
) -> _Facts | Values | str:
    """Look at one image, or only at its values while their range is not known.

    One that cannot be read never costs the others: the reason is returned.
    """
    try:
        content = files.read(path)
        with opened(content) as image:
            if image.is_deep and decoding.value_range is None:
                return values_in(image)
            pixels = decoding.pixels(image)
            height, width, _ = pixels.shape
            sha256 = hashlib.sha256(content).hexdigest()
            row = _Row(sha256, width, height, len(content), pixel_digest(pixels))
            is_shown = is_described and row.pixel_digest is not None
            described = describe_picture(pixels) if is_shown else None
            states = image.states_window if isinstance(image, DicomImage) else None
            return _Facts(row, look_at(pixels), states, described)
    except (ImageError, SourceError) as error:
        return error.problem
    except MemoryError:
        return "too big for the memory that is free"
