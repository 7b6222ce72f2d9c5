"""What controls see of images: colours without place; outline and size without colour."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.audit.cues import colour_histograms, silhouettes
from diascope.audit.measure import SIDE_PX
from diascope.data.image import fit_image
from diascope.progress import Progress, Watch, silent

COLOURS, OUTLINE = "colour histogram", "outline and size"
BLOCK_PX = 8  # of the outline, at 64 px
CHUNK = 256


def describe(
    images: NDArray[np.uint8],
    table: pl.DataFrame,
    rows: NDArray[np.intp],
    *,
    watch: Watch = silent,
) -> dict[str, NDArray[np.float32]]:
    """Describe some images; no label is read.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        As the network gets them; looked at in 64 px.
    table : DataFrame
        N rows, with ``width, height`` of the files, in px.
    rows : intp (n,)
        Which images.
    watch : callable
        Told the progress.

    Returns
    -------
    dict of str to float32 (n, D)
        `COLOURS`: see `diascope.audit.cues.colour_histograms`. `OUTLINE`: how much of each block of
        8 px is not plain ground, and the logarithms of area and elongation of the file's pixels.
    """
    starts = range(0, len(rows), CHUNK)

    def look(start: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        small = _small(images[rows[start : start + CHUNK]])
        return colour_histograms(small), outlines(small)

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, part in enumerate(pool.map(look, starts)):
            found.append(part)
            watch(Progress("describing for controls", number + 1, len(starts)))
    width, height = (table[name].to_numpy()[rows].astype(float) for name in ("width", "height"))
    size = np.stack([np.log(width * height), np.log(width / height)], axis=1)
    shapes = np.concatenate([part for _, part in found])
    return {
        COLOURS: np.concatenate([part for part, _ in found]),
        OUTLINE: np.concatenate([shapes, size], axis=1).astype(np.float32),
    }


def outlines(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much of each block is not plain ground: float32 (N, 64), 0-1."""
    n = SIDE_PX // BLOCK_PX
    blocks = silhouettes(small).reshape(-1, n, BLOCK_PX, n, BLOCK_PX)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(small), -1)


def _small(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if images.shape[1] == SIDE_PX:
        return images
    return np.stack([fit_image(image, SIDE_PX, fit="stretch") for image in images])
