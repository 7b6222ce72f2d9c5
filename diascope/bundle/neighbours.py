"""How alike images are to a network: the cosine distance of their features.

It is 0 where the features (the input of the last linear layer) have the same direction, and 1 where
they have nothing in common.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 128  # images that are compared with all others
DIGITS = 6  # of a distance: what is less than rounding errors makes no order


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image that is like another image."""

    row: int
    distance: float  # 0 to 2


def directions_of(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale features, (N, D), to length 1; those that are 0 throughout stay 0."""
    found = features.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(lengths > 0, lengths, 1)


def cosine_distances(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return cosine distances, (N, M), of directions (N, D) and (M, D)."""
    return np.abs(np.round(1 - first @ second.T, DIGITS))


def median_nearest_distance(
    directions: NDArray[np.floating], groups: NDArray[np.str_]
) -> float | None:
    """Return the median distance of an image from the nearest of another group.

    It is what a distance is to be compared with; None where all N images are of one group.

    Parameters
    ----------
    directions : (N, D)
    groups : (N,)
        The group of each.
    """
    least = []
    for start in range(0, len(groups), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        distances = cosine_distances(directions[part], directions)
        distances[groups[part, np.newaxis] == groups] = np.inf
        least.append(distances.min(axis=1))
    found = np.concatenate(least) if least else np.empty(0)
    found = found[np.isfinite(found)]
    return float(np.median(found)) if found.size else None
