"""Take some of many images, so that they stand for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spread_rows(
    labels: NDArray[np.integer], groups: Sequence[str], most: int, *, seed: int
) -> NDArray[np.intp]:
    """Choose at most so many images: of each class its share, and of each group in it too.

    Parameters
    ----------
    labels : int (N,)
    groups : sequence of str (N,)
    most : int
        At least 1.
    seed : int
        Of which images of a class and group are taken.

    Returns
    -------
    intp (n,)
        Row numbers, ascending; all of them where there are no more than ``most``.

    Examples
    --------
    >>> labels, groups = np.array([0, 0, 0, 0, 1, 1]), ["a", "a", "b", "b", "a", "b"]
    >>> rows = spread_rows(labels, groups, 3, seed=0)
    >>> labels[rows].tolist(), [groups[row] for row in rows][:2]
    ([0, 0, 1], ['a', 'b'])
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    chance = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    _, group_of = np.unique(np.array(groups), return_inverse=True)
    order = np.lexsort((chance, group_of, labels))
    return np.sort(order[np.arange(most) * len(labels) // most])
