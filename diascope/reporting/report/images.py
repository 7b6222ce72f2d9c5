"""The images that a report shows, read from where they lay when the data were prepared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.image import Fit, fit_image
from diascope.data.pack import find_pack
from diascope.data.pictures import Pictures
from diascope.data.pixels import Pixels
from diascope.data.sources.folder import open_files
from diascope.errors import ImageError, SourceError
from diascope.reporting.figures.pictures import image_uri
from diascope.system.environment import home

if TYPE_CHECKING:
    from diascope.training.run import Run


class Images:
    """Images by their id; None for one that is gone, damaged or changed."""

    def __init__(self, manifest: pl.DataFrame, pixels: Pixels, pictures: Pictures | None) -> None:
        image_ids = manifest["image_id"].to_list()
        self._manifest, self._pictures, self._pixels = manifest, pictures, pixels
        self._row_of = {image_id: row for row, image_id in enumerate(image_ids)}

    def get(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return the pixels, uint8 (H, W, 3), 0-255."""
        if self._pictures is None:
            return None
        with suppress(SourceError, ImageError):
            return self._pictures[self._row_of[image_id]]
        return None

    def seen(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return the pixels as a network of the run sees them, uint8 (S, S, 3), 0-255."""
        if self._pack is not None:
            try:
                return self._pack[self._row_of[image_id]]
            except SourceError:  # the object store that it lies in does not help: not asked again
                self._pack = None
        image = self.get(image_id)
        return None if image is None else fit_image(image, self._pixels.size_px, fit=self._fit)

    @cached_property
    def _pack(self) -> NDArray[np.uint8] | None:
        """All images, if the training or evaluation left them in the cache: read in no time."""
        try:
            return find_pack(home(), self._manifest, self._pixels)
        except SourceError:  # an object store that does not help
            return None

    @property
    def _fit(self) -> Fit:
        return self._pixels.fit

    def square(self, image_id: str, largest_px: int) -> NDArray[np.uint8] | None:
        """Return the image as a square, uint8 (P, P, 3); a small one is not enlarged."""
        image = self.get(image_id)
        if image is None:
            return None
        return fit_image(image, min(largest_px, max(image.shape[:2])), fit=self._fit)

    def uri(self, image_id: str, largest_px: int) -> str | None:
        """Return what `square` does, as a data URI."""
        image = self.square(image_id, largest_px)
        return None if image is None else image_uri(image)


@contextmanager
def open_images(run: Run) -> Iterator[Images]:
    """Open the source of a run's data; where it is gone, every image is None."""
    with open_source(run.fingerprint["source"], run.manifest, run.plan.pixels) as images:
        yield images


@contextmanager
def open_source(source: str, manifest: pl.DataFrame, pixels: Pixels) -> Iterator[Images]:
    """Open where the images of a manifest lie; where it is gone, every image is None."""
    try:
        files = open_files(source)
    except SourceError:
        yield Images(manifest, pixels, None)
        return
    with files:
        yield Images(manifest, pixels, Pictures(files, manifest, pixels.decoding))
