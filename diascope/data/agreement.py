"""Lay two aligned pictures on each other and ask whether they show the same thing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from diascope.data.alignment import Alignment

BLOCKS = 6  # along the longer side of the overlap
MIN_BLOCK_PX = 8
SMOOTH_PX = 1.2
STRUCTURE = 6.0  # contrast of a block in the flattened picture below which it shows nothing
AWAY = 0.12  # of the long side: how far a picture is moved to see what chance gives


@dataclass(frozen=True)
class Agreement:
    """How well two aligned pictures agree.

    Parameters
    ----------
    overlap : float
        Share of the smaller picture that lies within the other one, 0-1.
    correlation : float
        Of the flattened pictures over the overlap, -1 to 1.
    chance : float
        The highest correlation after moving one of them away.
    blocks : float
        Share of the blocks with structure in which the pictures agree, 0-1.
    n_blocks : int
        Blocks with structure.
    spread : float
        Share of these blocks' area that the matched points span.
    """

    overlap: float
    correlation: float
    chance: float
    blocks: float
    n_blocks: int
    spread: float


def compare(first, second, alignment: Alignment) -> Agreement | None:
    """Compare two flattened pictures.

    Parameters
    ----------
    first, second : tuple of uint8 (h, w) and bool (h, w)
        Flattened picture and what of it is valid.
    alignment : Alignment
        From the first to the second.
    """
    factor, shift = alignment.factor, alignment.shift
    points = alignment.first
    if abs(factor) < 1:  # compare in the frame of the coarser picture
        first, second = second, first
        factor, shift = 1 / factor, -shift / factor
        points = alignment.second
    flat, valid = first
    height, width = flat.shape
    matrix = np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
    moving = second[0]
    if abs(factor) > 1.3:
        moving = cv2.GaussianBlur(moving, (0, 0), 0.4 * abs(factor))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(moving, matrix, (width, height), flags=flags, borderValue=128)
    inside = cv2.warpAffine(
        second[1].astype(np.uint8),
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=0,
    )
    covered = cv2.warpAffine(
        np.ones(second[0].shape, np.uint8),
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    both = valid & (inside > 0)
    here = cv2.GaussianBlur(flat, (0, 0), SMOOTH_PX).astype(np.float32) - 128
    there = cv2.GaussianBlur(warped, (0, 0), SMOOTH_PX).astype(np.float32) - 128
    smaller = min(height * width, second[0].size / abs(factor) ** 2)
    overlap = float(covered.sum()) / smaller
    if both.sum() < 100:
        return None
    correlation = _correlation(here, there, both)
    step = max(4, round(AWAY * max(height, width)))
    chance = max(
        _moved(here, there, valid, inside > 0, dx * step, dy * step)
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
        if dx or dy
    )
    share, n_blocks, spread = _blocks(here, there, both, points)
    return Agreement(min(1.0, overlap), correlation, chance, share, n_blocks, spread)


def _correlation(here, there, both) -> float:
    a, b = here[both], there[both]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 1e-6 else 0.0


def _moved(here, there, valid, inside, dx: int, dy: int) -> float:
    height, width = here.shape
    rows, rows2 = slice(max(0, dy), height + min(0, dy)), slice(max(0, -dy), height + min(0, -dy))
    cols, cols2 = slice(max(0, dx), width + min(0, dx)), slice(max(0, -dx), width + min(0, -dx))
    both = valid[rows, cols] & inside[rows2, cols2]
    if both.sum() < 100:
        return 0.0
    return _correlation(here[rows, cols], there[rows2, cols2], both)


def _blocks(here, there, both, points):
    ys, xs = np.nonzero(both)
    top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    side = max(MIN_BLOCK_PX, -(-max(bottom - top, right - left) // BLOCKS))
    number = ((ys - top) // side) * 1000 + (xs - left) // side
    _, block, n = np.unique(number, return_inverse=True, return_counts=True)
    a, b = here[ys, xs], there[ys, xs]

    def mean(values):
        return np.bincount(block, values) / n

    ma, mb = mean(a), mean(b)
    va, vb = mean(a * a) - ma**2, mean(b * b) - mb**2
    cov = mean(a * b) - ma * mb
    ncc = cov / np.sqrt(np.maximum(va * vb, 1e-6))
    structured = (np.maximum(va, vb) > STRUCTURE**2) & (n > side * side / 3)
    if not structured.any():
        return 0.0, 0, 0.0
    hit = np.unique(
        ((points.imag.astype(int) - top) // side) * 1000 + (points.real.astype(int) - left) // side
    )
    keys = np.unique(number)
    spread = np.isin(keys[structured], hit).mean()
    return float((ncc[structured] > 0.4).mean()), int(structured.sum()), float(spread)
