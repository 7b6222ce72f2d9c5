"""Pictures inside a page: nothing of an image is ever a file."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diascope.reporting.explain.pictures import TILE_PX, png, tile


def png_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (H, W, 3) or (H, W, 4), as a data URI."""
    return _uri(png(image))


def tile_uri(one: NDArray[np.float32]) -> str:
    """Return a feature map (H, W) in colours on its own scale, no larger than it is shown."""
    side = min(TILE_PX, max(one.shape))
    buffer = io.BytesIO()
    picture = Image.fromarray(tile(one, side)).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, format="png")
    return _uri(buffer.getvalue())


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
