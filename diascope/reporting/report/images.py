"""The images that a report shows, read from where they lay when the data were prepared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diascope.data.image import fit_image
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import open_files
from diascope.errors import ImageError, SourceError
from diascope.reporting.figures.pictures import image_uri

if TYPE_CHECKING:
    from diascope.training.run import Run


class Images:
    """Images by their id; None for one that is gone, damaged or changed."""

    def __init__(self, run: Run, pictures: Pictures | None) -> None:
        image_ids = run.manifest["image_id"].to_list()
        self._pictures, self._fit = pictures, run.plan.pixels.fit
        self._row_of = {image_id: row for row, image_id in enumerate(image_ids)}

    def get(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return the pixels, uint8 (H, W, 3), 0-255."""
        if self._pictures is None:
            return None
        with suppress(SourceError, ImageError):
            return self._pictures[self._row_of[image_id]]
        return None

    def uri(self, image_id: str, largest_px: int) -> str | None:
        """Return the image as a square data URI; a small one is not enlarged."""
        image = self.get(image_id)
        if image is None:
            return None
        size_px = min(largest_px, max(image.shape[:2]))
        return image_uri(fit_image(image, size_px, fit=self._fit))


@contextmanager
def open_images(run: Run) -> Iterator[Images]:
    """Open the source of a run's data; where it is gone, every image is None."""
    try:
        files = open_files(Path(run.fingerprint["source"]))
    except SourceError:
        yield Images(run, None)
        return
    with files:
        yield Images(run, Pictures(files, run.manifest, run.plan.pixels.decoding))
