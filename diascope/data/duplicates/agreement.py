"""Lay two aligned pictures on each other and ask whether they show the same thing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.alignment import Alignment

MIN_PIXELS = 100  # of overlap, to say anything
SMOOTH_PX = 1.2  # standard deviation: what is finer than this need not agree
AWAY = 0.12  # of the long side: how far a picture is moved to see what chance gives
BLOCKS, MIN_BLOCK_PX = 6, 8  # blocks along the longer side of the overlap; their least side
STRUCTURE = 6.0  # contrast of a block in the flattened picture below which it shows nothing
BLOCK_CORRELATION = 0.4  # a block with at least this agrees

Flat = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@dataclass(frozen=True)
class Agreement:
    """How well two aligned pictures agree."""

    overlap: float  # fraction of the smaller picture that lies within the other, 0-1
    correlation: float  # of the flattened pictures over the overlap, -1 to 1
    chance: float  # the highest correlation after moving one of them away, in eight directions
    n_blocks: int  # blocks of the overlap that have structure in either picture
    blocks: float  # fraction of these in which the pictures agree, 0-1
    spread: float  # fraction of these that hold a matched point, 0-1


def compare(first: Flat, second: Flat, alignment: Alignment) -> Agreement | None:
    """Compare two flattened pictures in the frame of the coarser one.

    Parameters
    ----------
    first, second : tuple of uint8 (h, w) and bool (h, w)
        A flattened picture, and what of it is valid.
    alignment : Alignment
        From the first to the second.

    Returns
    -------
    Agreement or None
        None where too little of them overlaps.
    """
    factor, shift, points = alignment.factor, alignment.shift, alignment.first
    if abs(factor) < 1:
        first, second = second, first
        factor, shift, points = 1 / factor, -shift / factor, alignment.second
    flat, valid = first
    moving, moving_valid = second
    if abs(factor) > 1.3:  # it will be reduced
        moving = cv2.GaussianBlur(moving, (0, 0), 0.4 * abs(factor))
    here = _smooth(flat)
    there = _smooth(_lay(moving, factor, shift, flat.shape, outside=128))
    inside = _lay(moving_valid.astype(np.uint8), factor, shift, flat.shape) > 0
    both = valid & inside
    if both.sum() < MIN_PIXELS:
        return None
    covered = _lay(np.ones(moving.shape, np.uint8), factor, shift, flat.shape).sum()
    smaller = min(flat.size, moving.size / abs(factor) ** 2)
    step = max(4, round(AWAY * max(flat.shape)))
    steps = [(dy * step, dx * step) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    return Agreement(
        min(1.0, float(covered) / smaller),
        _correlation(here, there, both),
        max(_moved(here, there, valid, inside, *away) for away in steps),
        *_blocks(here, there, both, points),
    )


def _lay(picture, factor: complex, shift: complex, shape, *, outside: int | None = None):
    """Lay a picture on a frame; masks, which have nothing outside, by their nearest pixel."""
    matrix = np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
    how = cv2.INTER_NEAREST if outside is None else cv2.INTER_LINEAR
    flags = how | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, shape[::-1], flags=flags, borderValue=(outside or 0,))


def _smooth(flat):
    return cv2.GaussianBlur(flat, (0, 0), SMOOTH_PX).astype(np.float32) - 128


def _correlation(here, there, both) -> float:
    """Correlate two pictures over the pixels that both have."""
    one, two = here[both], there[both]
    one, two = one - one.mean(), two - two.mean()
    norm = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / norm if norm > 1e-6 else 0.0


def _moved(here, there, valid, inside, dy: int, dx: int) -> float:
    """Correlate two pictures after moving the second one by so many pixels."""
    rows, moved_rows = _shifted(here.shape[0], dy)
    columns, moved_columns = _shifted(here.shape[1], dx)
    both = valid[rows, columns] & inside[moved_rows, moved_columns]
    if both.sum() < MIN_PIXELS:
        return 0.0
    return _correlation(here[rows, columns], there[moved_rows, moved_columns], both)


def _shifted(length: int, by: int) -> tuple[slice, slice]:
    return slice(max(0, by), length + min(0, by)), slice(max(0, -by), length + min(0, -by))


def _blocks(here, there, both, points: NDArray[np.complex128]) -> tuple[int, float, float]:
    """Compare the overlap block by block: ``n_blocks, blocks, spread`` of `Agreement`."""
    y, x = np.nonzero(both)
    top, left = y.min(), x.min()
    longer = max(y.max() - top, x.max() - left) + 1
    side = max(MIN_BLOCK_PX, -(-longer // BLOCKS))

    def block_of(rows, columns):
        return ((rows - top) // side) * 1000 + (columns - left) // side

    names, block, n_pixels = np.unique(block_of(y, x), return_inverse=True, return_counts=True)

    def mean(values):
        return np.bincount(block, values) / n_pixels

    one, two = here[y, x], there[y, x]
    mean_one, mean_two = mean(one), mean(two)
    variance_one, variance_two = mean(one * one) - mean_one**2, mean(two * two) - mean_two**2
    covariance = mean(one * two) - mean_one * mean_two
    correlation = covariance / np.sqrt(np.maximum(variance_one * variance_two, 1e-6))
    has_structure = np.maximum(variance_one, variance_two) > STRUCTURE**2
    counted = has_structure & (n_pixels > side * side / 3)
    if not counted.any():
        return 0, 0.0, 0.0
    matched = block_of(points.imag.astype(int), points.real.astype(int))
    agreeing = (correlation[counted] > BLOCK_CORRELATION).mean()
    return int(counted.sum()), float(agreeing), float(np.isin(names[counted], matched).mean())
