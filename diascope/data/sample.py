"""Choose some of many images so that they represent all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray


def evenly(n: int, most: int) -> NDArray[np.intp]:
    """Return at most so many of the numbers 0 to n - 1, which lie evenly among them.

    Examples
    --------
    >>> evenly(3, 5).tolist(), evenly(100, 4).tolist()
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)


def spread_rows(
    labels: NDArray[np.integer], groups: Sequence[str], most: int, *, seed: int
) -> NDArray[np.intp]:
    """Choose at most ``most`` of N images, in proportion to classes and to the groups within them.

    The seed decides which images of a class and group are taken. The result is intp (n,): row
    numbers, ascending; all of them where there are no more than ``most``, which is at least 1.

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


def balanced_rows(
    labels: NDArray[np.integer], groups: Sequence[str], most: int, *, seed: int
) -> NDArray[np.intp]:
    """Choose images as `spread_rows`, but equally many of each class, as far as there are.

    What rare classes do not fill, the others share.

    Examples
    --------
    >>> labels = np.array([0] * 9 + [1] * 2)
    >>> np.bincount(labels[balanced_rows(labels, ["a"] * 11, 6, seed=0)]).tolist()
    [4, 2]
    """
    classes, counts = np.unique(labels, return_counts=True)
    left, chosen = most, []
    for place, number in enumerate(np.argsort(counts, kind="stable")):
        quota = min(int(counts[number]), left // (len(classes) - place))
        left -= quota
        rows = np.flatnonzero(labels == classes[number])
        of_class = [groups[int(row)] for row in rows]
        if quota:
            chosen.append(rows[spread_rows(labels[rows], of_class, quota, seed=seed)])
    return np.sort(np.concatenate(chosen))


def by_turns(rows: pl.DataFrame, *, seed: int, over: str = "group") -> pl.DataFrame:
    """Return the rows in an order in which the first ones are of as many groups as possible.

    Each value of the column ``over`` comes once before any comes twice. The seed decides the order
    within a group and of the groups; that of the rows, which have ``image_id``, does not count.
    """
    rows = rows.sort("image_id").sample(fraction=1, shuffle=True, seed=seed)
    turn = pl.int_range(pl.len()).over(over)
    return rows.with_columns(turn=turn).sort("turn", maintain_order=True).drop("turn")
