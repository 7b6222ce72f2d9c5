"""Look at every image once: a small copy and a few numbers, from which all checks are made."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from diascope.data.image import fit_image
from diascope.data.pictures import Pictures
from diascope.system.progress import Progress, ShowProgress, silent

SIDE_PX = 64
LARGEST_PX = 1024  # of a larger image the middle is measured, pixel by pixel
CHUNK = 128  # images between two reports of progress
LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)  # of R, G, B, as in ITU-R BT.709
JPEG_BLOCK_PX = 8
STEEPEST = 32.0  # larger second differences are outlines, such as that of a cell on black


@dataclass(frozen=True)
class Measures:
    """What is known of N images."""

    # uint8 (N, S, S, 3), 0-255: each image squeezed to a square of S = 64 px.
    small: NDArray[np.uint8]
    # A row an image: ``width_px, height_px, n_bytes, jpeg_table, is_jpeg, blockiness, luminance,
    # contrast, black, white, sharpness, fineness``, see `measure_image`.
    values: pl.DataFrame

    def of(self, rows: NDArray[np.integer]) -> Measures:
        """Return the measures of some images, in the order of ``rows``, int (n,)."""
        return Measures(self.small[rows], self.values[rows])


def measure_images(pictures: Pictures, *, progress: ShowProgress = silent) -> Measures:
    """Read and measure every image.

    Raises
    ------
    SourceError, ImageError
        A file has gone or changed since it was prepared.
    """

    def look(row: int) -> tuple[NDArray[np.uint8], dict[str, float]]:
        with pictures.held(row) as (content, image):
            return measure_image(content, image)

    n_images = len(pictures)
    small = np.empty((n_images, SIDE_PX, SIDE_PX, 3), np.uint8)
    values: list[dict[str, float]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, n_images, CHUNK):
            for image, measured in pool.map(look, range(start, min(start + CHUNK, n_images))):
                small[len(values)] = image
                values.append(measured)
            progress(Progress("looking at the images", len(values), n_images))
    return Measures(small, pl.DataFrame(values))


def measure_image(
    content: bytes, image: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], dict[str, float]]:
    """Measure one image.

    Parameters
    ----------
    content : bytes
        The whole file.
    image : uint8 (H, W, 3), 0-255
        Its pixels.

    Returns
    -------
    small : uint8 (64, 64, 3), 0-255
    values : dict of str to float
        ``width_px, height_px, n_bytes``; ``is_jpeg`` (0 or 1) and ``jpeg_table``, the mean divisor
        of its first quantisation table (0 for other formats; large is coarse); ``blockiness``, the
        steps between blocks of 8 px over all steps, about 1; ``luminance`` and ``contrast``, mean
        and standard deviation, 0-255; ``black`` and ``white``, the fractions of pixels at either
        end, 0-1; ``sharpness``, the mean absolute second difference of the luminance, 0-32; and
        ``fineness``, the same over the mean absolute first difference.
    """
    light = _middle(image) @ LUMINANCE
    sharpness, fineness = _sharpness(light)
    values = {
        "width_px": float(image.shape[1]),
        "height_px": float(image.shape[0]),
        "n_bytes": float(len(content)),
        **_compression(content),
        "blockiness": _blockiness(light),
        "luminance": float(light.mean()),
        "contrast": float(light.std()),
        "black": float((light <= 2).mean()),
        "white": float((light >= 253).mean()),
        "sharpness": sharpness,
        "fineness": fineness,
    }
    return fit_image(image, SIDE_PX, fit="stretch"), values


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    top, left = max(0, height - LARGEST_PX) // 2, max(0, width - LARGEST_PX) // 2
    return image[top : top + LARGEST_PX, left : left + LARGEST_PX]


def _compression(content: bytes) -> dict[str, float]:
    if not content.startswith(b"\xff\xd8\xff"):
        return {"is_jpeg": 0.0, "jpeg_table": 0.0}
    tables: Sequence[Sequence[int]]
    tables = list(JpegImagePlugin.JpegImageFile(io.BytesIO(content)).quantization.values())
    return {"is_jpeg": 1.0, "jpeg_table": float(np.mean(tables[0])) if tables else 0.0}


def _sharpness(light: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean absolute second difference, and the same over the mean first difference."""
    if min(light.shape) < 3:
        return 0.0, 0.0
    inner = light[1:-1, 1:-1]
    second = np.abs(
        4 * inner - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    )
    first = np.abs(light[1:-1, 2:] - inner) + np.abs(light[2:, 1:-1] - inner)
    sharpness = float(np.minimum(second, STEEPEST).mean())
    return sharpness, sharpness / (float(np.minimum(first, STEEPEST).mean()) + 0.1)


def _blockiness(light: NDArray[np.float32]) -> float:
    """Compare the steps across the borders of JPEG blocks with all steps; 1 where none shows."""
    ratios = []
    for turned in (light, light.T):
        steps = np.abs(np.diff(turned, axis=1)).mean(axis=0)
        if len(steps) >= 2 * JPEG_BLOCK_PX and steps.mean() > 0:
            ratios.append(steps[JPEG_BLOCK_PX - 1 :: JPEG_BLOCK_PX].mean() / steps.mean())
    return float(np.mean(ratios)) if ratios else 1.0
