"""Look at every image once: can it be read, how large is it, has it been seen before."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from diascope.data.duplicates import pixel_digest
from diascope.data.files import FileTree
from diascope.data.image import SUFFIXES, decode_image
from diascope.errors import DataError, ImageError, SourceError
from diascope.progress import Progress, Watch, silent

CHUNK = 256  # images read between two signs of life


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be used, and why."""

    path: str
    reason: str


def inspect_images(
    files: FileTree, table: pl.DataFrame, *, alpha_background: str, watch: Watch = silent
) -> tuple[pl.DataFrame, list[Rejected]]:
    """Read and decode every image of the table.

    Parameters
    ----------
    files : FileTree
        Where the paths are read from.
    table : DataFrame
        With ``path``.
    alpha_background : str
        What shows through transparent pixels.
    watch : callable
        Told the progress.

    Returns
    -------
    table : DataFrame
        The rows that can be used, with ``sha256, width, height, n_bytes, pixel_digest`` added.
    rejected : list of Rejected
        The others, in the order of the table.
    """

    def look(path: str) -> tuple[str, int, int, int, str | None] | Rejected:
        try:
            content = files.read(path)
            image = decode_image(content, alpha_background=alpha_background)
        except (ImageError, SourceError) as error:
            return Rejected(path, error.problem)
        height, width, _ = image.shape
        sha256 = hashlib.sha256(content).hexdigest()
        return sha256, width, height, len(content), pixel_digest(image)

    facts, rejected, usable = [], [], []
    paths = table["path"].to_list()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), CHUNK):
            for result in pool.map(look, paths[start : start + CHUNK]):
                usable.append(not isinstance(result, Rejected))
                (rejected if isinstance(result, Rejected) else facts).append(result)
            watch(Progress("checking images", min(start + CHUNK, len(paths)), len(paths)))
    schema = {
        "sha256": pl.String,
        "width": pl.Int32,
        "height": pl.Int32,
        "n_bytes": pl.Int64,
        "pixel_digest": pl.String,
    }
    looked_at = pl.DataFrame(facts, schema=schema, orient="row")
    return table.filter(pl.Series(usable, dtype=pl.Boolean)).hstack(looked_at), rejected


def find_unlisted(files: FileTree, table: pl.DataFrame) -> list[str]:
    """Return the image files that are there and in no row, sorted."""
    listed = set(table["path"])
    return [
        name for name in files.names() if name.lower().endswith(SUFFIXES) and name not in listed
    ]


def check_rejected(
    table: pl.DataFrame, kept: pl.DataFrame, rejected: list[Rejected], *, max_share: float
) -> None:
    """Check that few images were rejected and that no class lost all of its own.

    Parameters
    ----------
    table, kept : DataFrame
        The rows before and after, with ``label``.
    rejected : list of Rejected
    max_share : float
        The largest share of rejected images to go on with, 0-1.

    Raises
    ------
    DataError
        With the first reasons and what to do.
    """
    first = "; ".join(f"{image.path}: {image.reason}" for image in rejected[:5])
    emptied = sorted(set(table["label"]) - set(kept["label"]))
    if emptied:
        raise DataError(
            f"No image of the class {', '.join(emptied)} can be read.",
            where=first,
            fix="Mend or replace the files.",
        )
    n_found = kept.height + len(rejected)
    if len(rejected) > max_share * n_found:
        raise DataError(
            f"{len(rejected)} of {n_found} images cannot be read, "
            f"over the limit of {max_share:.1%}.",
            where=first,
            fix="Mend or replace the files, or raise --max-rejected.",
        )
