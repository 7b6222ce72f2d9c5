"""Stability: heat maps should stay with an image that is moved by a pixel or two."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from diascope.explanations.heat_maps import Explainer
from diascope.explanations.layers import networks_of
from diascope.explanations.similarity import rank_correlations

SHIFTS = ((1, 0), (0, -1), (2, 2))  # px, down and to the right
MARGIN_PX = 2


def under_shifts(
    explainer: Explainer,
    images: NDArray[np.uint8],
    targets: NDArray[np.integer],
    evidence: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return how alike the maps of moved images are to those of the images, moved: float64 (N,).

    The rank correlation, mean of all `SHIFTS`, without the margin that the images were moved over.
    Images are uint8 (N, S, S, 3), 0-255; evidence, float32 (N, S, S), is that of `Explainer`.
    """
    found = []
    for shift in SHIFTS:
        there = explainer.evidence(_shifted(images, shift), targets)
        back = np.roll(there, (-shift[0], -shift[1]), axis=(1, 2))
        found.append(rank_correlations(_inner(evidence), _inner(back)))
    return np.mean(found, axis=0)


def across_members(
    explainer: Explainer, images: NDArray[np.uint8], targets: NDArray[np.integer]
) -> NDArray[np.float64] | None:
    """Return the mean rank correlation of the maps of two members: float64 (N,).

    None where the bundle is one network.
    """
    members = networks_of(explainer.bundle)
    if len(members) < 2:
        return None
    maps = [
        replace(explainer, bundle=replace(explainer.bundle, module=member)).evidence(
            images, targets
        )
        for member in members
    ]
    pairs = [rank_correlations(first, second) for first, second in combinations(maps, 2)]
    return np.mean(pairs, axis=0)


def _shifted(images: NDArray[np.uint8], shift: tuple[int, int]) -> NDArray[np.uint8]:
    """Move images; the pixels at the edge are repeated."""
    down, right = shift
    padded = np.pad(images, ((0, 0), *2 * ((MARGIN_PX, MARGIN_PX),), (0, 0)), mode="edge")
    top, left, side = MARGIN_PX - down, MARGIN_PX - right, images.shape[1]
    return padded[:, top : top + side, left : left + side]


def _inner(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = slice(MARGIN_PX, -MARGIN_PX)
    return np.ascontiguousarray(maps[:, inner, inner])
