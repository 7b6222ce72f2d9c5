"""Pixels, ready: every image at the size that the plan wants, in one memory-mapped array.

``images.npy`` is uint8 (N, S, S, 3) in the order of the manifest; ``pack.json`` says how it was
made, with the checksums of the array, which are checked whenever the pack is opened. The folder's
name is the digest of the content and of all settings: another size or another image is another
pack.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import polars as pl
from numpy.typing import NDArray

from diascope.data.image import (
    RULES,
    fit_image,
)
from diascope.data.pictures import Pictures
from diascope.data.pixels import Pixels
from diascope.data.sources.folder import FileTree
from diascope.system.array_cache import cached_array, find_array
from diascope.system.progress import Progress, ShowProgress, silent

CHUNK = 256  # images decoded between two writes
DAMAGED = "The cached pixels are damaged: they are packed again."


def pack_folder(home: Path, table: pl.DataFrame, pixels: Pixels) -> Path:
    """Return the folder of the pack of these images with these settings; it may not exist."""
    made_by = {
        **vars(pixels),
        "rules": RULES,
        "pillow": PIL.__version__,
        "images": table["sha256"].to_list(),
    }
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
    return home / "packs" / digest[:32]


def pack_images(
    files: FileTree,
    table: pl.DataFrame,
    pixels: Pixels,
    *,
    home: Path,
    progress: ShowProgress = silent,
) -> NDArray[np.uint8]:
    """Return the pixels of all images of a manifest, made once and cached.

    Files are not read where the pack exists in ``home``. One that is damaged is made again, which
    the progress says.

    Returns
    -------
    uint8 (N, S, S, 3), 0-255
        Memory-mapped, read-only, in the order of the rows.

    Raises
    ------
    SourceError, ImageError
        A file has gone or changed since it was prepared, or the disk is full.
    """
    folder = pack_folder(home, table, pixels)

    def write(path: Path, is_again: bool) -> None:
        pictures = Pictures(files, table, pixels.decoding)
        remark = DAMAGED if is_again else ""
        _write_images(pictures, pixels, path, remark=remark, progress=progress)

    return cached_array(
        folder / "images.npy",
        folder / "pack.json",
        facts={**vars(pixels), "n_images": table.height},
        write=write,
        progress=progress,
    )


def find_pack(home: Path, table: pl.DataFrame, pixels: Pixels) -> NDArray[np.uint8] | None:
    """Return what `pack_images` has cached for the same images; None without it or if damaged."""
    folder = pack_folder(home, table, pixels)
    return find_array(folder / "images.npy", folder / "pack.json")[0]


def _write_images(
    pictures: Pictures, pixels: Pixels, path: Path, *, remark: str, progress: ShowProgress
) -> None:
    """Write the array in order, so that a full disk is an error and not a crash."""

    def fitted(row: int) -> NDArray[np.uint8]:
        with pictures.held(row) as (_, image):
            return fit_image(image, pixels.size_px, fit=pixels.fit)

    n_images = len(pictures)
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (n_images, pixels.size_px, pixels.size_px, 3),
    }
    with path.open("wb") as output, ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(output, header)
        for start in range(0, n_images, CHUNK):
            end = min(start + CHUNK, n_images)
            for image in pool.map(fitted, range(start, end)):
                output.write(image.tobytes())
            progress(Progress("packing", end, n_images, remark=remark))
