"""How each patient fares: sensitivity, specificity and AUROC within one group at a time.

Pooled numbers can hide a patient in whom everything is missed, and can be raised by recognising
patients instead of disease; the AUROC within patients cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis
from diascope.metrics.confusion import divide
from diascope.metrics.discrimination import rank_metrics, ranking

GROUP_METRICS = ("sensitivity", "specificity", "auroc")


def group_values(
    by_group: NDArray[np.float64],
    *,
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    group_of: NDArray[np.intp],
    positive_index: int,
) -> dict[str, NDArray[np.float64]]:
    """Return sensitivity, specificity and AUROC within each group.

    Parameters
    ----------
    by_group : float64 (G, 2, 2)
        Confusion counts, rows true, columns predicted.
    is_positive : bool (N,)
        Which images are positive.
    scores : float64 (N,)
        Probability of the positive class.
    group_of : intp (N,)
        The group of each image.
    positive_index : int
        The positive class, 0 or 1.

    Returns
    -------
    dict of str to float64 (G,)
        By the names of ``GROUP_METRICS``. NaN: no positive images (sensitivity), no negative
        ones (specificity), not both (AUROC).
    """
    negative_index = 1 - positive_index
    true = by_group.sum(axis=2)
    return {
        "sensitivity": divide(by_group[:, positive_index, positive_index], true[:, positive_index]),
        "specificity": divide(by_group[:, negative_index, negative_index], true[:, negative_index]),
        "auroc": group_aurocs(is_positive, scores, group_of=group_of, n_groups=len(by_group)),
    }


def group_aurocs(
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    group_of: NDArray[np.intp],
    n_groups: int,
) -> NDArray[np.float64]:
    """Return the AUROC within each group; NaN where it has not both classes.

    Parameters
    ----------
    is_positive : bool (N,)
    scores : float64 (N,)
    group_of : intp (N,)
        The group of each image, 0 to G - 1.
    n_groups : int
        G

    Returns
    -------
    float64 (G,)
    """
    aurocs = np.full(n_groups, np.nan)
    order = np.argsort(group_of, kind="stable")
    starts = np.searchsorted(group_of[order], np.arange(n_groups + 1))
    n_positive = np.bincount(group_of, is_positive, minlength=n_groups)
    one = np.ones((1, 1))
    for group in np.flatnonzero((n_positive > 0) & (n_positive < np.diff(starts))):
        inside = order[starts[group] : starts[group + 1]]
        images = ranking(is_positive[inside], scores[inside], group_of=np.zeros_like(inside))
        aurocs[group] = rank_metrics(images, one)[0][0]
    return aurocs


def group_means(
    values: dict[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of each metric over the groups that have it, each group counting alike.

    Parameters
    ----------
    values : dict of str to float64 (G,)
        From `group_values`.
    weights : float64 (R, G)
        How often each group counts.

    Returns
    -------
    dict of str to float64 (R,)
        Under the names ``group/sensitivity`` and so on.
    """
    means = {}
    for name, of_group in values.items():
        has = ~np.isnan(of_group)
        counts = weights @ has.astype(np.float64)
        means[f"group/{name}"] = divide(weights @ np.where(has, of_group, 0.0), counts)
    return means


def group_bases(
    values: dict[str, NDArray[np.float64]],
    images_by_class: NDArray[np.float64],
    *,
    positive_index: int,
    group_kind: str,
) -> dict[str, Basis]:
    """Return what each mean of `group_means` rests on, by the same names.

    Parameters
    ----------
    values : dict of str to float64 (G,)
        From `group_values`.
    images_by_class : float64 (G, 2)
        Images of each class in each group.
    positive_index : int
        The positive class, 0 or 1.
    group_kind : str
        What a group is, for the reason why a mean is undefined.
    """
    informing = {
        "sensitivity": images_by_class[:, positive_index],
        "specificity": images_by_class[:, 1 - positive_index],
        "auroc": images_by_class.sum(axis=1),
    }
    missing = {
        "sensitivity": f"no {group_kind} has positive images",
        "specificity": f"no {group_kind} has negative images",
        "auroc": f"no {group_kind} has images of both classes",
    }
    bases = {}
    for name, of_group in values.items():
        has = ~np.isnan(of_group)
        n_groups = int(np.count_nonzero(has))
        n_images = int(informing[name][has].sum())
        bases[f"group/{name}"] = Basis(n_images, n_groups, n_groups, float(n_groups), missing[name])
    return bases


def distribution(of_group: NDArray[np.float64]) -> dict[str, float | int | None]:
    """Return the five-number summary of a metric over the groups that have it.

    Parameters
    ----------
    of_group : float64 (G,)
        NaN for a group without the metric.

    Returns
    -------
    dict
        ``min, q25, median, q75, max`` (None without groups) and ``n_groups``.

    Examples
    --------
    >>> distribution(np.array([0.5, np.nan, 1.0]))["median"]
    0.75
    """
    has = of_group[~np.isnan(of_group)]
    names = ("min", "q25", "median", "q75", "max")
    if not has.size:
        return {**dict.fromkeys(names), "n_groups": 0}
    values = np.quantile(has, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {**dict(zip(names, values, strict=True)), "n_groups": has.size}


def group_rows(
    values: dict[str, NDArray[np.float64]],
    names: NDArray[np.str_],
    *,
    images_by_class: NDArray[np.float64],
    positive_index: int,
) -> list[dict[str, Any]]:
    """Return one row a group, in the order of ``names``.

    Parameters
    ----------
    values : dict of str to float64 (G,)
        From `group_values`.
    names : str (G,)
        The groups.
    images_by_class : float64 (G, 2)
        Images of each class in each group.
    positive_index : int
        The positive class, 0 or 1.

    Returns
    -------
    list of dict
        ``group, n_images, n_positive, sensitivity, specificity, auroc``; None where undefined.
    """
    return [
        {
            "group": str(name),
            "n_images": int(images_by_class[group].sum()),
            "n_positive": int(images_by_class[group, positive_index]),
            **{
                metric: None if np.isnan(of_group[group]) else float(of_group[group])
                for metric, of_group in values.items()
            },
        }
        for group, name in enumerate(names)
    ]
