"""Pixels, ready: every image at the size that the plan wants, in shards that are read by rows.

``shard-00000.npy`` and the next are uint8 (n, S, S, 3) in the order of the manifest, each of about
a gibibyte; ``pack.json``, written last, says how they were made. The folder's name is the digest of
the content and of all settings: another size or another image is another pack. A shard that is
missing or damaged is written again, and the others are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL
import polars as pl
from numpy.typing import NDArray

from diascope.data.image import (
    RULES,
    fit_image,
)
from diascope.data.pack_places import PackFolder, PackPlace, PackStore
from diascope.data.pictures import Pictures
from diascope.data.pixels import Pixels
from diascope.data.shards import SHARD_BYTES, Layout, shard_name
from diascope.data.sources.folder import FileTree, open_files
from diascope.errors import ImageError, SettingsError, SourceError
from diascope.system.environment import packs
from diascope.system.places import Place, shown
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.remote import check_address, open_store

CHUNK = 256  # images decoded between two writes
DAMAGED = "The cached pixels are damaged: they are packed again."
REPLACED = "The cached pixels are of an earlier version: they are packed again in their place."


def pack_digest(table: pl.DataFrame, pixels: Pixels) -> str:
    """Return the name of the pack of these images with these settings."""
    made_by = {
        **vars(pixels),
        "rules": RULES,
        "pillow": PIL.__version__,
        "images": table["sha256"].to_list(),
    }
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
    return digest[:32]


def pack_folder(home: Path, table: pl.DataFrame, pixels: Pixels) -> Place:
    """Return the folder or address of the pack, which may not exist; `SettingsError`."""
    place, digest = packs(home), pack_digest(table, pixels)
    if isinstance(place, Path):
        return place / digest
    try:
        check_address(place)
    except SettingsError as error:
        where = f"DIASCOPE_PACKS={shown(place)}"
        raise SettingsError(error.problem, where=where, fix=error.fix) from error
    return f"{place.rstrip('/')}/{digest}"


def pack_images(
    files: FileTree | Place,
    table: pl.DataFrame,
    pixels: Pixels,
    *,
    home: Path,
    shard_bytes: int | None = None,
    progress: ShowProgress = silent,
) -> NDArray[np.uint8]:
    """Return the pixels of all images of a manifest, made once and cached.

    Files are not read where the pack exists: in ``home``, or where ``DIASCOPE_PACKS`` says. Shards
    that are missing or damaged are made again, which the progress says; an interrupted packing goes
    on behind the last whole shard.

    Parameters
    ----------
    files : FileTree, path or address
        The source. A path or an address is opened only where something has to be packed.
    shard_bytes : int, optional
        About so large is a shard of a pack that does not exist yet; by default `SHARD_BYTES`.

    Returns
    -------
    uint8 (N, S, S, 3), 0-255
        In the order of the rows: memory-mapped and read-only, or what is indexed by rows as an
        array is, see `diascope.data.shards.ShardedImages`.

    Raises
    ------
    SourceError, ImageError
        A file has gone or changed since it was prepared, the disk is full, or an object store does
        not help.
    """
    place = _place(home, table, pixels)
    index = _index(place, table, pixels)
    layout = _layout(index, table, pixels, shard_bytes or SHARD_BYTES)
    broken = place.broken(layout, index, progress)
    if is_new := bool(broken):
        was_whole = place.has_index()
        remark = REPLACED if place.tidy() else _remark(broken, layout) if was_whole else ""
        try:
            with ExitStack() as opened:
                if not isinstance(files, FileTree):
                    files = opened.enter_context(open_files(files))
                pictures = Pictures(files, table, pixels.decoding)
                _write_shards(place, layout, broken, pictures, pixels, remark, progress)
        except (SourceError, ImageError) as error:
            if index is None:
                raise
            raise _cannot_mend(place, broken, error) from error
    if is_new or index is None:
        place.write_index(layout, {**vars(pixels), "n_images": table.height})
        index = _index(place, table, pixels)
    if index is None:
        raise SourceError("The index of the pack cannot be read back.", where=place.where)
    return cast("NDArray[np.uint8]", place.open(layout, index))  # indexed by rows, as an array is


def find_pack(home: Path, table: pl.DataFrame, pixels: Pixels) -> NDArray[np.uint8] | None:
    """Return what `pack_images` has cached for the same images; None without it or if damaged."""
    place = _place(home, table, pixels)
    index = _index(place, table, pixels)
    if index is None:
        return None
    layout = _layout(index, table, pixels, SHARD_BYTES)
    if place.broken(layout, index):
        return None
    return cast("NDArray[np.uint8]", place.open(layout, index))


def _place(home: Path, table: pl.DataFrame, pixels: Pixels) -> PackPlace:
    where = pack_folder(home, table, pixels)
    if isinstance(where, Path):
        return PackFolder(where)
    return PackStore(open_store(where), scratch=home / "packs")


def _index(place: PackPlace, table: pl.DataFrame, pixels: Pixels) -> dict[str, Any] | None:
    """Return the index, if it is of these images, and of this version of diascope."""
    index = place.index()
    if index is None or not isinstance(index.get("rows_a_shard"), int):
        return None
    layout = _layout(index, table, pixels, SHARD_BYTES)
    is_right = index.get("n_images") == table.height and len(index["shards"]) == len(layout.shards)
    return index if is_right else None


def _layout(
    index: Mapping[str, Any] | None, table: pl.DataFrame, pixels: Pixels, shard_bytes: int
) -> Layout:
    if index is None:
        return Layout.of(table.height, pixels.size_px, shard_bytes=shard_bytes)
    return Layout(table.height, pixels.size_px, index["rows_a_shard"])


def _remark(broken: list[int], layout: Layout) -> str:
    if len(layout.shards) == 1:
        return DAMAGED
    names = ", ".join(map(shard_name, broken))
    return f"Damaged or missing among {len(layout.shards)} files of cached pixels, and packed " + (
        f"again: {names}."
    )


def _cannot_mend(
    place: PackPlace, broken: list[int], error: SourceError | ImageError
) -> SourceError:
    names = ", ".join(map(shard_name, broken))
    where = f" ({error.where})" if error.where is not None else ""
    return SourceError(
        f"Cached pixels are damaged or missing ({names}), and cannot be packed again: "
        f"{error.problem}{where}",
        where=place.where,
        fix="Bring the images back to where they were prepared from, then run the same command "
        "again.",
    )


def _write_shards(
    place: PackPlace,
    layout: Layout,
    shards: list[int],
    pictures: Pictures,
    pixels: Pixels,
    remark: str,
    progress: ShowProgress,
) -> None:
    """Write shards in order, so that a full disk is no crash, and take each from the list."""
    n_images = len(pictures)
    n_done = n_images - sum(len(layout.rows(shard)) for shard in shards)

    def fitted(row: int) -> NDArray[np.uint8]:
        with pictures.held(row) as (_, image):
            return fit_image(image, pixels.size_px, fit=pixels.fit)

    def images(rows: range) -> Iterator[NDArray[np.uint8]]:
        nonlocal n_done
        for start in range(rows.start, rows.stop, CHUNK):
            part = range(start, min(start + CHUNK, rows.stop))
            yield from pool.map(fitted, part)
            n_done += len(part)
            progress(Progress("packing", n_done, n_images, remark=remark))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while shards:
            place.write_shard(layout, shards[0], images(layout.rows(shards[0])))
            shards.pop(0)
