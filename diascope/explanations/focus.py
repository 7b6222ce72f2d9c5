"""Where the evidence lies: on the border of the image, on its black background, at one place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BORDER = 1 / 8  # of the side: how wide the border is
BLACK = 16  # of 255: no brighter a pixel is background, as in `diascope.bundle.ood`


def energy_in(maps: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of each map's energy, 0-1, that lies in a region.

    Parameters
    ----------
    maps : float32 (N, S, S)
        Evidence, 0 or more.
    region : bool (S, S) or (N, S, S)

    Returns
    -------
    float64 (N,)
        NaN for a map that is 0 everywhere.
    """
    whole = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * region).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def border_of(side: int) -> NDArray[np.bool_]:
    """Return which pixels are on the border: bool (S, S), True for 44 % of the area."""
    width = max(1, round(BORDER * side))
    region = np.ones((side, side), dtype=np.bool_)
    region[width:-width, width:-width] = False
    return region


def background_of(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels of images, uint8 (N, S, S, 3), are black background: bool (N, S, S)."""
    return images.max(axis=3) <= BLACK
