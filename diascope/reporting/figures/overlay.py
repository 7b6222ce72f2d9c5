"""Heat maps over images, and patches of images."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = "viridis"  # as on the pages of `explain`: even in lightness, for colour-blind readers too
FAINT, MOST = 0.25, 0.8  # where the colours begin, and how much of them covers the image
GREY = (0.299, 0.587, 0.114)  # what red, green and blue weigh in brightness
GAP_PX = 4
WHITE, BLACK = 255, 0


def heat_over(image: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay a heat map over an image, which becomes grey.

    Parameters
    ----------
    image : uint8 (P, P, 3), 0-255
    heat : float (S, S), 0 or more
        Of the same square; its highest value gets the brightest colour, and 0 none.

    Returns
    -------
    uint8 (P, P, 3), 0-255

    Examples
    --------
    >>> grey = heat_over(np.full((4, 4, 3), 90, np.uint8), np.zeros((2, 2)))
    >>> grey.shape, int(grey.min()), int(grey.max())
    ((4, 4, 3), 90, 90)
    """
    scaled = np.asarray(heat / (heat.max() or 1), np.float32)
    scaled = Image.fromarray(scaled).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    strength = np.asarray(scaled)[:, :, np.newaxis]
    colours = mpl.colormaps[COLOURS](FAINT + (1 - FAINT) * strength[:, :, 0])[:, :, :3] * 255
    grey = (image @ np.array(GREY))[:, :, np.newaxis]
    cover = MOST * strength
    return np.round(grey * (1 - cover) + colours * cover).astype(np.uint8)


def legend() -> NDArray[np.uint8]:
    """Return the colours of `heat_over` from no evidence to the most, on grey: uint8 (8, 96, 3)."""
    ramp = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[np.newaxis], 8, axis=0)
    return heat_over(np.full((8, 96, 3), 128, np.uint8), ramp)


def tiles(images: Sequence[NDArray[np.uint8]], *, side_px: int) -> NDArray[np.uint8]:
    """Lay squares, uint8 (n, n, 3), side by side at one size, their pixels enlarged as they are.

    The result is uint8 (side, N * (side + 4) - 4, 3), with white gaps.
    """
    row = np.full((side_px, len(images) * (side_px + GAP_PX) - GAP_PX, 3), WHITE, np.uint8)
    for number, image in enumerate(images):
        left = number * (side_px + GAP_PX)
        row[:, left : left + side_px] = enlarged(image, side_px)
    return row


def enlarged(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a square of another size, uint8 (side, side, 3), each pixel as it is."""
    resized = Image.fromarray(image).resize((side_px, side_px), Image.Resampling.NEAREST)
    return np.asarray(resized)


def framed(
    image: NDArray[np.uint8], *, top: int, left: int, field_px: tuple[int, int], side_px: int
) -> NDArray[np.uint8]:
    """Cut out a patch with what lies around it, enlarge it, and frame the patch itself.

    Parameters
    ----------
    image : uint8 (S, S, 3), 0-255
    top, left : int
        Where the patch begins.
    field_px : tuple of int
        Its height and width, at most S.
    side_px : int
        Of the result, uint8 (side, side, 3).
    """
    size = image.shape[0]
    shown = min(size, max(3 * max(field_px), size // 4))
    y, x = (
        min(max(start + extent // 2 - shown // 2, 0), size - shown)
        for start, extent in zip((top, left), field_px, strict=True)
    )
    tile = enlarged(image[y : y + shown, x : x + shown], side_px).copy()
    ends = [
        (round(start * side_px / shown), round((start + extent) * side_px / shown) - 1)
        for start, extent in ((top - y, field_px[0]), (left - x, field_px[1]))
    ]
    for margin, value in ((0, WHITE), (1, BLACK)):
        (first, last), (begin, end) = ((a + margin, b - margin) for a, b in ends)
        tile[first : last + 1, [begin, end]] = value
        tile[[first, last], begin : end + 1] = value
    return tile
