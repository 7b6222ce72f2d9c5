"""Turn images and feature maps into pictures of a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GAP_PX = 2


def image_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (H, W, 3) or (H, W), as a ``data:image/png`` URI without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnail_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (H, W, 3), as a ``data:image/jpeg`` URI: small, and not exact."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="jpeg", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def map_mosaic(
    maps: NDArray[np.float32], *, n_columns: int = 8, n_most: int = 32
) -> NDArray[np.uint8]:
    """Lay out the first of C feature maps side by side, each on a grey scale of its own.

    Returns
    -------
    uint8 (rows * (H + 2) - 2, columns * (W + 2) - 2), 0-255
        Black is the least and white the greatest value of each map; white lines lie between.

    Examples
    --------
    >>> map_mosaic(np.zeros((3, 4, 4), dtype=np.float32), n_columns=2).shape
    (10, 10)
    """
    shown = maps[:n_most]
    n_maps, height, width = shown.shape
    n_rows = -(-n_maps // n_columns)
    mosaic = np.full(
        (n_rows * (height + GAP_PX) - GAP_PX, n_columns * (width + GAP_PX) - GAP_PX), 255, np.uint8
    )
    for number, one in enumerate(shown):
        row, column = divmod(number, n_columns)
        top, left = row * (height + GAP_PX), column * (width + GAP_PX)
        span = float(np.ptp(one)) or 1.0
        mosaic[top : top + height, left : left + width] = (one - one.min()) / span * 255
    return mosaic
