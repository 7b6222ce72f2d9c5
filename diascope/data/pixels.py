"""How an image file becomes the square that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diascope.data.image import (
    AlphaBackground,
    Decoding,
    Fit,
    fit_image,
    opened,
    values_in,
)
from diascope.data.value_range import CheckedRange
from diascope.data.window import FILE, Window
from diascope.errors import ImageError

LEAST_DEEP = 4096  # 16-bit values that stay below it are of 12 bits or fewer


@dataclass(frozen=True)
class Pixels:
    """How an image becomes the square that a network sees."""

    size_px: Annotated[int, Field(ge=8, le=2048)]  # side of the square, S
    fit: Fit  # ``"pad"``: the long side becomes S and the rest is black; ``"stretch"``: squeezed
    alpha_background: AlphaBackground  # what shows through transparent pixels
    value_range: CheckedRange | None = None  # of 16-bit values, measured over the data set
    window: Window = FILE  # of DICOM values, see `diascope.data.window`

    @property
    def decoding(self) -> Decoding:
        """How files become pixels before they are fitted."""
        return Decoding(self.alpha_background, self.value_range, self.window)

    def read(self, content: bytes) -> NDArray[np.uint8]:
        """Decode and fit one file that was not prepared: uint8 (S, S, 3), 0-255.

        Raises
        ------
        ImageError
            The content cannot be decoded, or it has values of 12 bits in 16 and the images of the
            data set had 8: nobody knows which of them is white.
        """
        with opened(content) as image:
            if image.is_deep and self.value_range is None:
                highest = values_in(image).highest
                if highest < LEAST_DEEP:
                    raise ImageError(f"16-bit values up to {highest}; the model is of 8-bit images")
            return fit_image(self.decoding.pixels(image), self.size_px, fit=self.fit)
