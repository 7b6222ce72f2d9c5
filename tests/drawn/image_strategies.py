"""What Schemathesis sends where the OpenAPI asks for an image: files of pictures."""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies
from PIL import Image

KINDS = {"image/png": "png", "image/jpeg": "jpeg", "image/tiff": "tiff"}
MODES = ("RGB", "L", "CMYK")


def pictures(kind: str) -> strategies.SearchStrategy[bytes]:
    """Return a strategy of picture files of a kind."""

    def file(mode: str, width: int, height: int) -> bytes:
        buffer = io.BytesIO()
        image = Image.new("RGB" if mode == "CMYK" and kind == "png" else mode, (width, height), 1)
        image.save(buffer, kind)
        return buffer.getvalue()

    sides = strategies.integers(1, 60)
    return strategies.builds(file, strategies.sampled_from(MODES), sides, sides)


for name, kind in KINDS.items():
    schemathesis.openapi.media_type(name, pictures(kind))
schemathesis.openapi.media_type("application/octet-stream", pictures("png"))
