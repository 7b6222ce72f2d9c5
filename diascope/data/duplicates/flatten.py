"""Flatten a picture for comparison: no uneven light, no dark corners, no hair, no ruler ticks.

What every picture of a microscope or a dermatoscope may have in common says nothing about what is
in it: the black surround, the fall of light towards the edge, hairs and the lines of a ruler. They
are cut out here, before anything is compared, so that they are no evidence anywhere after.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE_PX = 200  # pictures are compared at this size at most, whatever they come in
DARK = 40  # grey levels, 0-255; below it and joined to the edge is surround
LINE_LENGTH_PX, LINE_WIDTH_PX = 15, 5  # longer and thinner dark structures are hair or ticks
LINE_DEPTH = 12.0  # grey levels that a hair is darker than the skin around it
NEIGHBOURHOOD_PX = 31  # what counts as local light and local contrast
FLOOR = 8.0  # grey levels of contrast that pass for noise


def work_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which a picture is compared: its own, or reduced to 200 px.

    Examples
    --------
    >>> work_size(450, 600), work_size(50, 50)
    ((150, 200), (50, 50))
    """
    factor = min(1.0, LONG_SIDE_PX / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def flatten(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Flatten one picture.

    Parameters
    ----------
    image : uint8 (H, W, 3), 0-255

    Returns
    -------
    flat : uint8 (h, w)
        Brightness against its neighbourhood, in units of the local contrast; 128 is the mean.
    valid : bool (h, w)
        False in the dark surround and on long thin dark lines, where ``flat`` is 128.
    """
    height, width = work_size(*image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    valid = ~(_surround(grey) | _lines(grey))
    weights = valid.astype(np.float32)
    share = np.maximum(_blur(weights), np.float32(1e-3))
    brightness = grey.astype(np.float32)
    relief = ((brightness - _blur(brightness * weights) / share) * weights).astype(np.float32)
    contrast = np.sqrt(np.maximum(_blur(relief * relief), 0) / share) + FLOOR
    flat = np.clip(128 + 40 * relief / contrast, 0, 255).astype(np.uint8)
    return flat, valid


def _blur(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average over the neighbourhood, twice, which is nearly a Gaussian."""
    size = (NEIGHBOURHOOD_PX // 2 + 1,) * 2
    once = cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, size, borderType=cv2.BORDER_REFLECT), np.float32)


def _surround(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find what is dark and joined to the edge of the picture, and a rim of 3 px around it."""
    dark = (grey < DARK).astype(np.uint8)
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    if not edge.any():
        return np.zeros(grey.shape, bool)
    _, parts = cv2.connectedComponents(dark, connectivity=4)
    at_edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    found = np.isin(parts, at_edge[at_edge > 0]).astype(np.uint8)
    return cv2.dilate(found, np.ones((7, 7), np.uint8)).astype(bool)


def _lines(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find dark lines, thinner than 5 px and straight for 15 px at least, with a rim of 1 px."""
    if min(grey.shape) < 4 * LINE_LENGTH_PX:
        return np.zeros(grey.shape, bool)
    square = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LINE_WIDTH_PX + 2,) * 2)
    depth = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, square)
    deep = (depth > LINE_DEPTH).astype(np.uint8)
    if not deep.any():
        return deep.astype(bool)
    lines = np.zeros_like(deep)
    for stroke in STROKES:
        lines = np.maximum(lines, cv2.morphologyEx(deep, cv2.MORPH_OPEN, stroke))
    return cv2.dilate(lines, np.ones((3, 3), np.uint8)).astype(bool)


def _strokes() -> list[NDArray[np.uint8]]:
    """Draw a straight line of 15 px in twelve directions."""
    half = LINE_LENGTH_PX // 2
    strokes = []
    for number in range(12):
        angle = math.pi * number / 12
        dx, dy = round(half * math.cos(angle)), round(half * math.sin(angle))
        stroke = np.zeros((LINE_LENGTH_PX, LINE_LENGTH_PX), np.uint8)
        strokes.append(cv2.line(stroke, (half - dx, half - dy), (half + dx, half + dy), 1))
    return strokes


STROKES = _strokes()
