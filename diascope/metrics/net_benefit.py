"""Is acting by the network better than acting on all, or on none: the decision curve.

Vickers & Elkin 2006, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models",
Medical Decision Making 26:565-574. Who acts at a probability of 0.2 or above says with it that one
missed case is as bad as four needless actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.compare import student
from diascope.metrics.confusion import count_bases, group_confusion
from diascope.metrics.replicates import replicates_of
from diascope.metrics.scored import ScoredImages

THRESHOLDS = tuple(np.round(np.arange(0.02, 0.99, 0.04), 2).tolist())


def decision_curve(
    images: ScoredImages, *, positive_index: int, resampling: Resampling
) -> list[dict[str, Any]]:
    """Return the net benefit of acting at each of `THRESHOLDS`.

    Net benefit is the share of true positives, less the share of false ones times the odds of the
    threshold: the true positives that are worth as much, in images of all images.

    Parameters
    ----------
    images : ScoredImages
        With calibrated probabilities.
    positive_index : int
    resampling : Resampling

    Returns
    -------
    list of dict
        ``threshold, prevalence``; ``value, low, high`` of the network; ``treat_all``; and ``gain,
        gain_low``: by how much it is better than the better of acting on all and on none, and the
        lower end of the interval of that. Ends are None where there are too few groups.
    """
    is_positive = images.labels == positive_index
    scores = images.probabilities[:, positive_index]
    acted = scores[:, None] >= np.array(THRESHOLDS)
    odds = np.array([t / (1 - t) for t in THRESHOLDS])

    def by_group(what: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.zeros((images.n_groups, what.shape[1]))
        np.add.at(counts, images.group_of, what)
        return counts

    worth = by_group(acted & is_positive[:, None]) - odds * by_group(acted & ~is_positive[:, None])
    everyone = np.ones((len(scores), 1), dtype=bool)
    all_worth = by_group(everyone & is_positive[:, None]) - odds * by_group(
        everyone & ~is_positive[:, None]
    )
    sizes = np.bincount(images.group_of, minlength=images.n_groups)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        n_images = (weights @ sizes)[:, None]
        network, treat_all = weights @ worth / n_images, weights @ all_worth / n_images
        gain = network - np.maximum(treat_all, 0)
        return {
            f"{name}/{k}": column
            for name, table in (("network", network), ("all", treat_all), ("gain", gain))
            for k, column in enumerate(table.T)
        }

    confusion = group_confusion(
        images.labels,
        images.labels,
        group_of=images.group_of,
        n_groups=images.n_groups,
        n_classes=images.probabilities.shape[1],
    )
    basis = count_bases(confusion, positive_index=positive_index)["balanced_accuracy"]
    names = [f"{what}/{k}" for what in ("network", "all", "gain") for k in range(len(THRESHOLDS))]
    strata = np.zeros(images.n_groups, dtype=np.intp)
    found = replicates_of(
        statistic, dict.fromkeys(names, basis), strata=strata, resampling=resampling
    )
    rows = []
    for k, threshold in enumerate(THRESHOLDS):
        value, gain = found.points[f"network/{k}"], found.points[f"gain/{k}"]
        low, high, *_ = student(
            value, found.draws[f"network/{k}"], basis=basis, resampling=resampling
        )
        gain_low, *_ = student(gain, found.draws[f"gain/{k}"], basis=basis, resampling=resampling)
        rows.append(
            {
                "threshold": threshold,
                "prevalence": float(is_positive.mean()),
                "value": value,
                "low": low,
                "high": high,
                "treat_all": found.points[f"all/{k}"],
                "gain": gain,
                "gain_low": gain_low,
            }
        )
    return rows


def useful_range(rows: list[dict[str, Any]]) -> tuple[float, float] | None:
    """Return the longest run of thresholds at which the network is better than all and none.

    Better means that the interval of the gain lies above zero; None where it nowhere does.
    """
    best: tuple[int, int] | None = None
    start = None
    for number, row in enumerate([*rows, {"gain_low": None}]):
        if row["gain_low"] is not None and row["gain_low"] > 0:
            start = number if start is None else start
        elif start is not None:
            if best is None or number - start > best[1] - best[0]:
                best = (start, number)
            start = None
    return None if best is None else (rows[best[0]]["threshold"], rows[best[1] - 1]["threshold"])
