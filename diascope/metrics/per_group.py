"""How each patient fares: sensitivity, specificity and AUROC within one group at a time.

Pooled numbers can hide a patient in whom everything is missed, and can be raised by recognising
patients instead of disease; the AUROC within patients cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Replicates, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.discrimination import rank_metrics, ranking
from diascope.metrics.replicates import replicates_of
from diascope.metrics.scored import ScoredImages


def group_values(images: ScoredImages) -> dict[str, NDArray[np.float64]]:
    """Return sensitivity, specificity and AUROC within each group: (G,).

    NaN without positive images (sensitivity), negative ones (specificity) or both (AUROC). Empty
    without a positive class.
    """
    positive = images.positive_index
    if positive is None:
        return {}
    confusion = images.confusion_by_group
    right, true = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    recall = divide(right, true)
    return {
        "sensitivity": recall[:, positive],
        "specificity": recall[:, 1 - positive],
        "auroc": group_aurocs(
            images.labels == positive,
            images.probabilities[:, positive],
            group_of=images.group_of,
            n_groups=images.n_groups,
        ),
    }


def group_aurocs(
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    group_of: NDArray[np.intp],
    n_groups: int,
) -> NDArray[np.float64]:
    """Return the AUROC within each group, (G,); NaN where it has not both classes.

    Parameters
    ----------
    is_positive : bool (N,)
    scores : float64 (N,)
    group_of : intp (N,)
        The group of each image, 0 to G - 1.
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


def mean_replicates_of_groups(
    images: ScoredImages, values: dict[str, NDArray[np.float64]], resampling: Resampling
) -> dict[str, Replicates]:
    """Return the mean of each of `group_values` over the groups that have it, all alike."""
    positive, kind = images.positive_index, images.group_kind
    if positive is None:
        return {}
    by_class = images.confusion_by_group.sum(axis=2)
    informing = {
        "sensitivity": (by_class[:, positive], f"no {kind} has positive images"),
        "specificity": (by_class[:, 1 - positive], f"no {kind} has negative images"),
        "auroc": (by_class.sum(axis=1), f"no {kind} has images of both classes"),
    }
    has = {name: ~np.isnan(of_group) for name, of_group in values.items()}

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {
            name: divide(
                weights @ np.where(has[name], of_group, 0.0),
                weights @ has[name].astype(np.float64),
            )
            for name, of_group in values.items()
        }

    bases = {}
    for name, (counts, missing) in informing.items():
        n_groups = int(np.count_nonzero(has[name]))
        n_images = int(counts[has[name]].sum())
        bases[name] = Basis(n_images, n_groups, n_groups, float(n_groups), missing)
    return replicates_of(images, statistic, bases, resampling)


def distribution(of_group: NDArray[np.float64]) -> dict[str, float | int | None]:
    """Return the five-number summary of a metric over the groups that have it (are not NaN).

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
    images: ScoredImages, values: dict[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Return a row a group, in the order of their names, of its counts and `group_values`.

    None is what is undefined. Empty without a positive class.
    """
    positive = images.positive_index
    if positive is None:
        return []
    images_by_class = images.confusion_by_group.sum(axis=2)
    return [
        {
            "group": str(name),
            "n_images": int(images_by_class[group].sum()),
            "n_positive": int(images_by_class[group, positive]),
            **{
                metric: None if np.isnan(of_group[group]) else float(of_group[group])
                for metric, of_group in values.items()
            },
        }
        for group, name in enumerate(images.groups)
    ]
