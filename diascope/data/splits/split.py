"""Split by group: no patient, lesion or slide is ever in two parts.

Images are divided in the wanted proportions, class by class, and so are the kinds of group (for
malaria: patients with both classes, patients with uninfected cells only).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diascope.errors import DataError

EFFORT = 20_000  # placements tried in all: many restarts for few groups, one for many


def split_groups(
    labels: NDArray[np.integer],
    groups: NDArray[np.str_] | NDArray[np.integer],
    *,
    fractions: Sequence[float],
    seed: int,
) -> NDArray[np.int64]:
    """Assign whole groups to parts so that every part gets its fraction of every class.

    Groups are placed one after another, large ones first, each where it brings the counts nearest
    to the wanted fractions; of several random orders the best result is kept.

    Parameters
    ----------
    labels : int (N,)
        Class indices.
    groups : str or int (N,)
        Of numbers, those in the order of the names give the same split as the names.
    fractions : sequence of float (P,)
        Of the images in each part; they sum to 1.
    seed : int
        Other seeds give other splits of the same quality.

    Returns
    -------
    int64 (N,)
        The part of each image, 0 to P - 1.

    Raises
    ------
    DataError
        A class has fewer groups than there are parts, or a part came out without a class.
    """
    wanted = np.asarray(fractions, dtype=np.float64)
    names, group_of_image = np.unique(groups, return_inverse=True)
    counts = _counts_per_group(labels, group_of_image, len(names))
    _check_enough_groups(counts, len(wanted))

    features = np.hstack([counts, _kinds(counts)])
    features = features / features.sum(axis=0)
    rng = np.random.default_rng([seed, len(names), len(wanted)])
    n_tries = max(1, min(200, EFFORT // len(names)))
    tries = [_place(features, wanted, _order(counts, rng)) for _ in range(n_tries)]
    part_of_group = min(tries, key=lambda placed: _distance(features, wanted, placed))
    _check_every_class_everywhere(counts, part_of_group, len(wanted))
    return part_of_group[group_of_image]


def _counts_per_group(labels: NDArray, group_of_image: NDArray, n_groups: int) -> NDArray:
    """Count images, float (G, K)."""
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((n_groups, len(classes)))
    np.add.at(counts, (group_of_image, label), 1)
    return counts


def _kinds(counts: NDArray) -> NDArray:
    """Mark which set of classes each group has, one column a kind: float (G, kinds)."""
    _, kind = np.unique(counts > 0, axis=0, return_inverse=True)
    return np.eye(kind.max() + 1)[kind.reshape(-1)]


def _order(counts: NDArray, rng: np.random.Generator) -> NDArray:
    """Put large groups first, shuffled enough that every seed gives another split."""
    return np.argsort(-counts.sum(axis=1) * np.exp(rng.normal(size=len(counts))), kind="stable")


def _place(features: NDArray, wanted: NDArray, order: NDArray) -> NDArray[np.int64]:
    """Place each group where the sum of squared misses, relative to what is wanted, grows least."""
    filled = np.zeros((len(wanted), features.shape[1]))
    part = np.zeros(len(features), dtype=np.int64)
    for group in order:
        change = features[group] * (features[group] + 2 * (filled - wanted[:, None]))
        part[group] = np.argmin(change.sum(axis=1) / wanted)
        filled[part[group]] += features[group]
    return part


def _distance(features: NDArray, wanted: NDArray, part: NDArray) -> float:
    filled = np.zeros((len(wanted), features.shape[1]))
    np.add.at(filled, part, features)
    return float((((filled - wanted[:, None]) ** 2).sum(axis=1) / wanted).sum())


def _check_enough_groups(counts: NDArray, n_parts: int) -> None:
    fewest = int((counts > 0).sum(axis=0).min())
    if fewest < n_parts:
        raise DataError(
            f"A class is found in only {fewest} groups, and there are {n_parts} parts to fill.",
            fix="Add images of other patients.",
        )


def _check_every_class_everywhere(counts: NDArray, part: NDArray, n_parts: int) -> None:
    per_part = np.zeros((n_parts, counts.shape[1]))
    np.add.at(per_part, part, counts)
    if not per_part.all():
        raise DataError(
            "The groups are too few or too unequal: a part would have no image of some class.",
            fix="Use another seed or add images of other patients.",
        )
