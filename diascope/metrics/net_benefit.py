"""What acting by the network is worth: the decision curve, and predictive values by prevalence.

Vickers & Elkin 2006, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models",
Medical Decision Making 26:565-574. Who acts at a probability of 0.2 or above says with it that one
missed case is as bad as four needless actions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.metrics.bootstrap import FEWEST_GROUPS, TINY, Basis, Replicates, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.replicates import estimates_of, replicates_of
from diascope.metrics.scored import ScoredImages

THRESHOLDS = tuple(np.round(np.arange(0.02, 0.99, 0.04), 2).tolist())
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)


def decision_curve(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return the net benefit of acting at each of `THRESHOLDS`.

    Net benefit is the fraction of true positives, less the fraction of false ones times the odds
    of the threshold: the true positives that are worth as much, in images of all images.

    The probabilities must be calibrated.

    Returns
    -------
    list of dict
        ``threshold, prevalence``; ``value, low, high`` of the network; ``treat_all``; and ``gain,
        gain_low``: by how much it is better than the better of acting on all and on none, and the
        lower end of the interval of that. Ends are None where there are too few groups. Empty
        without a positive class.
    """
    positive = images.positive_index
    if positive is None:
        return []
    is_positive = images.labels == positive
    acted = images.probabilities[:, positive, None] >= np.array(THRESHOLDS)
    odds = np.array([t / (1 - t) for t in THRESHOLDS])

    def by_group(what: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.zeros((images.n_groups, what.shape[1]))
        np.add.at(counts, images.group_of, what)
        return counts

    def worth(acted: NDArray[np.bool_]) -> NDArray[np.float64]:
        true, false = acted & is_positive[:, None], acted & ~is_positive[:, None]
        return by_group(true) - odds * by_group(false)

    of_network, of_all = worth(acted), worth(np.ones((images.n_images, 1), dtype=bool))
    sizes = images.count_by_group()

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        n_images = (weights @ sizes)[:, None]
        network, treat_all = weights @ of_network / n_images, weights @ of_all / n_images
        gain = network - np.maximum(treat_all, 0)
        return {
            f"{name}/{k}": column
            for name, table in (("network", network), ("all", treat_all), ("gain", gain))
            for k, column in enumerate(table.T)
        }

    basis = Basis.of_classes(images.confusion_by_group.sum(axis=2))
    names = [f"{what}/{k}" for what in ("network", "all", "gain") for k in range(len(THRESHOLDS))]
    found = replicates_of(images, statistic, dict.fromkeys(names, basis), resampling)
    rows = []
    for k, threshold in enumerate(THRESHOLDS):
        network, gain = found[f"network/{k}"], found[f"gain/{k}"]
        low, high = _student(network)
        rows.append(
            {
                "threshold": threshold,
                "prevalence": float(is_positive.mean()),
                "value": network.value,
                "low": low,
                "high": high,
                "treat_all": found[f"all/{k}"].value,
                "gain": gain.value,
                "gain_low": _student(gain)[0],
            }
        )
    return rows


def _student(metric: Replicates) -> tuple[float | None, float | None]:
    """Return Student's interval of what has no fixed range; None where there are few groups."""
    basis, value = metric.basis, metric.value
    spread = float(np.std(metric.draws[~np.isnan(metric.draws)]))
    if basis.n_independent < FEWEST_GROUPS or (spread < TINY and abs(value) > TINY):
        return None, None
    freedom = max(FEWEST_GROUPS - 1.0, basis.n_effective - 1)
    error = spread / np.sqrt(freedom / (freedom + 1))
    reach = float(stdtrit(freedom, 0.5 + metric.level / 2) * error)
    return value - reach, value + reach


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


def predictive_values(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return PPV and NPV at several prevalences, by Bayes' rule, with intervals by group.

    They suppose that sensitivity and specificity are the same there, which a change of the patients
    may well undo.

    Returns
    -------
    list of dict
        For each of `PREVALENCES`: ``prevalence``, ``ppv`` and ``npv``, estimates. Empty without a
        positive class.
    """
    positive = images.positive_index
    if positive is None:
        return []
    by_group = images.confusion_by_group
    flat = by_group.reshape(len(by_group), -1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = (weights @ flat).reshape(-1, 2, 2)
        recall = divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))
        sensitivity, specificity = recall[:, positive], recall[:, 1 - positive]
        found = {}
        for prevalence in PREVALENCES:
            found_ill, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            missed, cleared = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
            found[f"ppv {prevalence}"] = divide(found_ill, found_ill + false_alarms)
            found[f"npv {prevalence}"] = divide(cleared, cleared + missed)
        return found

    basis = replace(
        Basis.of_classes(by_group.sum(axis=2)),
        undefined="one class only, or none called",
        is_mean_of_fractions=False,
    )
    names = [f"{value} {at}" for at in PREVALENCES for value in ("ppv", "npv")]
    bases = dict.fromkeys(names, basis)
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    return [
        {
            "prevalence": at,
            "ppv": found[f"ppv {at}"].to_dict(),
            "npv": found[f"npv {at}"].to_dict(),
        }
        for at in PREVALENCES
    ]
