"""What may be passed for images in Python: paths and arrays, one or many."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.data.image import fit_image
from diascope.data.pixels import Pixels
from diascope.data.sources.reading import read_file
from diascope.errors import DataError, ImageError

Image = NDArray[np.uint8] | Path | str  # decoded in RGB, uint8 (H, W, 3), 0-255, or its file
ACCEPTED = (
    "Pass paths of files or arrays uint8 (H, W, 3), 0-255: one, or several in a list, a generator "
    "or an array uint8 (N, H, W, 3)."
)


def each_image(images: Image | Iterable[Image]) -> Iterable[Image]:
    """Return images one after the other, where a single one is passed, too.

    Raises
    ------
    DataError
        It is neither an image nor several.
    """
    if isinstance(images, Path | str):
        return [images]
    if hasattr(images, "__array__") or hasattr(images, "__array_interface__"):
        array = np.asarray(images)  # a tensor, a picture of Pillow or a column of paths, too
        if array.ndim == 3 and array.shape[2] == 3:
            return [array]
        if array.ndim not in (1, 4):
            raise _no_image(array)
        return array
    if isinstance(images, bytes | dict) or not isinstance(images, Iterable):
        raise DataError(f"A {type(images).__name__} is passed for images.", fix=ACCEPTED)
    return images


def read_image(image: Image, pixels: Pixels) -> NDArray[np.uint8]:
    """Turn a file or a decoded image into the input of a network: uint8 (S, S, 3).

    Raises
    ------
    SourceError, ImageError
        The file cannot be read, or not as an image.
    DataError
        It is not an image: something else, an array of another kind, or one without pixels.
    """
    if isinstance(image, Path | str):
        try:
            return pixels.read(read_file(Path(image)))
        except ImageError as error:
            raise ImageError(error.problem, where=image) from error
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise _no_image(array)
    if not array.size:
        raise DataError(f"An image is {array.shape}: it has no pixels.", fix=ACCEPTED)
    return fit_image(array, pixels.size_px, fit=pixels.fit)


def _no_image(array: NDArray) -> DataError:
    return DataError(
        f"An image is {array.dtype} {array.shape}, and not uint8 (H, W, 3).", fix=ACCEPTED
    )
