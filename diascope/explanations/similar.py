"""Cases like this one: the training images that a network sees as most alike.

The distance of two images is that of `diascope.bundle.neighbours`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.neighbours import (
    Neighbour,
    cosine_distances,
    directions_of,
    median_nearest_distance,
)

MOST_IMAGES = 2000  # training images that are compared
AT_ONCE = 128  # images that are held in memory


@dataclass(frozen=True)
class Described:
    """What a network makes of N images."""

    rows: NDArray[np.intp]  # (N,): numbers of the images, ascending
    directions: NDArray[np.float64]  # (N, D): features, scaled to length 1


def describe(bundle: Bundle, images: Iterable[tuple[int, NDArray[np.uint8]]]) -> Described | None:
    """Return the directions of images in the space of features; None for a network without.

    Parameters
    ----------
    images : iterable of tuple
        The number of an image, ascending, and its pixels, uint8 (S, S, 3), 0-255, as the network
        sees them. They are read when they are needed.
    """
    rows: list[int] = []
    parts: list[NDArray[np.float32]] = []
    remaining = iter(images)
    while batch := list(islice(remaining, AT_ONCE)):
        features = bundle.features(np.stack([pixels for _, pixels in batch]))
        if features is None:
            return None
        rows += [row for row, _ in batch]
        parts.append(features)
    found = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
    return Described(np.array(rows, np.intp), directions_of(found))


def nearest(
    queries: Described, training: Described, *, groups: Sequence[str], n_wanted: int
) -> list[list[Neighbour]]:
    """Return the nearest training images of each query, the nearest first.

    None is of the group of the query. Of equal distances, the image with the lower number counts as
    nearer.

    Parameters
    ----------
    groups : sequence of str
        The group of every image, by its number.
    """
    of_training = np.array([groups[row] for row in training.rows.tolist()])
    found = []
    for row, direction in zip(queries.rows.tolist(), queries.directions, strict=True):
        distances = cosine_distances(direction[np.newaxis], training.directions)[0]
        others = np.flatnonzero(of_training != groups[row])
        order = others[np.argsort(distances[others], kind="stable")][:n_wanted]
        found.append([Neighbour(int(training.rows[one]), float(distances[one])) for one in order])
    return found


def typical_distance(training: Described, *, groups: Sequence[str]) -> float | None:
    """Return the median distance of a training image from the nearest of another group.

    It is what a distance is to be compared with; None where all images are of one group.
    """
    of_training = np.array([groups[row] for row in training.rows.tolist()])
    return median_nearest_distance(training.directions, of_training)
