"""Pixels, ready: every image at the size that the plan wants, in one memory-mapped array.

``images.npy`` is uint8 (N, S, S, 3) in the order of the manifest; ``pack.json`` says how it was
made and is written last, so a folder that has it is complete. The folder's name is the digest of
the content and of all settings: another size or another image is another pack.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import atomic_path, write_json
from diascope.data.files import FileTree
from diascope.data.image import RULES, decode_image, fit_image
from diascope.errors import ImageError, SourceError
from diascope.progress import Progress, Watch, silent

CHUNK = 256  # images decoded between two writes


@dataclass(frozen=True)
class Pixels:
    """How an image becomes the square that a network sees.

    Parameters
    ----------
    size_px : int
        Side of the square, S.
    fit : str
        ``"pad"``: the long side becomes S and the rest is black; ``"stretch"``: squeezed.
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.
    """

    size_px: int
    fit: str
    alpha_background: str

    def read(self, content: bytes) -> NDArray[np.uint8]:
        """Decode and fit one file: uint8 (S, S, 3), 0-255.

        Raises
        ------
        ImageError
            The content is no image that can be used.
        """
        image = decode_image(content, alpha_background=self.alpha_background)
        return fit_image(image, self.size_px, fit=self.fit)


def pack_folder(home: Path, table: pl.DataFrame, pixels: Pixels) -> Path:
    """Return the folder of the pack of these images with these settings; it may not exist."""
    return home / "packs" / _digest(table, pixels)


def _digest(table: pl.DataFrame, pixels: Pixels) -> str:
    made_by = {
        **vars(pixels),
        "rules": RULES,
        "pillow": PIL.__version__,
        "images": table["sha256"].to_list(),
    }
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:32]


def pack_images(
    files: FileTree, table: pl.DataFrame, pixels: Pixels, *, home: Path, watch: Watch = silent
) -> NDArray[np.uint8]:
    """Return the pixels of all images of a manifest, made once and cached.

    Parameters
    ----------
    files : FileTree
        Where the paths are read from; not touched where the pack is there already.
    table : DataFrame
        The manifest: ``path, sha256``.
    pixels : Pixels
        Size and rules.
    home : Path
        The folder that holds the packs.
    watch : callable
        Told the progress.

    Returns
    -------
    uint8 (N, S, S, 3), 0-255
        Memory-mapped, read-only, in the order of the rows.

    Raises
    ------
    SourceError
        A file has gone or changed since it was prepared, or the disk is full.
    ImageError
        A file cannot be read as an image any more.
    """
    folder = pack_folder(home, table, pixels)
    if not (folder / "pack.json").is_file():
        with atomic_path(folder / "images.npy") as temporary:
            _write_images(files, table, pixels, temporary, watch)
        write_json(folder / "pack.json", {**vars(pixels), "n_images": table.height})
    return np.load(folder / "images.npy", mmap_mode="r")


def _write_images(
    files: FileTree, table: pl.DataFrame, pixels: Pixels, path: Path, watch: Watch
) -> None:
    """Write the array in order, so that a full disk is an error and not a crash."""

    def read(row: tuple[str, str]) -> NDArray[np.uint8]:
        try:
            return pixels.read(read_unchanged(files, *row))
        except ImageError as error:
            raise ImageError(error.problem, where=row[0]) from error

    rows = list(table.select("path", "sha256").iter_rows())
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (len(rows), pixels.size_px, pixels.size_px, 3),
    }
    with path.open("wb") as output, ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(output, header)
        for start in range(0, len(rows), CHUNK):
            for image in pool.map(read, rows[start : start + CHUNK]):
                output.write(image.tobytes())
            watch(Progress("packing", min(start + CHUNK, len(rows)), len(rows)))


def read_unchanged(files: FileTree, path: str, sha256: str) -> bytes:
    """Read a file of the source and check that it is still the one that was prepared.

    Raises
    ------
    SourceError
        It has gone or changed.
    """
    content = files.read(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SourceError(
            f"The image {path} has changed since the data set was prepared.",
            where=files.root,
            fix="Run `diascope prepare` again.",
        )
    return content
