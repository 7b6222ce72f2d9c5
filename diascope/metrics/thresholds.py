"""What thresholds give: sensitivity, specificity and predictive values, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.confusion import count_bases, count_metrics, decide, group_confusion
from diascope.metrics.replicates import estimates_of, replicates_of
from diascope.metrics.scored import ScoredImages

SHOWN = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
RATES = ("sensitivity", "specificity", "ppv", "npv")


def rates_at(
    images: ScoredImages, thresholds: Sequence[float], resampling: Resampling
) -> list[dict[str, dict[str, Any]]]:
    """Return `RATES` of two classes at each threshold, estimates ready for JSON.

    The same groups are drawn for all thresholds, and as for the metrics of the whole.
    """
    positive, n_groups = images.positive_index, images.n_groups
    by_group = np.stack(  # (G, T, 2, 2): counts, rows true, columns predicted
        [
            group_confusion(
                images.labels,
                decide(images.probabilities, positive_index=positive, threshold=threshold),
                group_of=images.group_of,
                n_groups=n_groups,
                n_classes=images.task.n_classes,
            )
            for threshold in thresholds
        ],
        axis=1,
    )
    present = np.bincount(images.labels, minlength=images.task.n_classes) > 0
    flat = by_group.reshape(n_groups, -1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = (weights @ flat).reshape(-1, *by_group.shape[1:])
        found = count_metrics(confusion, present=present, positive_index=positive)
        return {
            f"{name}/{number}": found[name][:, number]
            for name in RATES
            for number in range(len(thresholds))
        }

    bases = {
        f"{name}/{number}": count_bases(by_group[:, number], positive_index=positive)[name]
        for name in RATES
        for number in range(len(thresholds))
    }
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    return [
        {name: found[f"{name}/{number}"].to_dict() for name in RATES}
        for number in range(len(thresholds))
    ]


def threshold_table(
    images: ScoredImages, chosen: Sequence[float], resampling: Resampling
) -> list[dict[str, Any]]:
    """Return a row a threshold: `SHOWN`, and those that were chosen; none without a positive class.

    Returns
    -------
    list of dict
        ``threshold, is_chosen, estimates`` and ``n_called``, the images called positive; in order.
    """
    positive = images.positive_index
    if positive is None:
        return []
    own, thresholds = images.probabilities[:, positive], sorted({*SHOWN, *chosen})
    return [
        {
            "threshold": threshold,
            "is_chosen": threshold in chosen,
            "estimates": rates,
            "n_called": int(np.count_nonzero(own >= threshold)),
        }
        for threshold, rates in zip(
            thresholds, rates_at(images, thresholds, resampling), strict=True
        )
    ]
