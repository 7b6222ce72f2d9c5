"""What acting by the network is worth: the decision curve, and predictive values by prevalence.

Vickers & Elkin 2006, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models",
Medical Decision Making 26:565-574. Whoever treats (or refers, or biopsies) at a probability of 0.2
or above states that one missed case is as bad as four unnecessary treatments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.metrics.bootstrap import (
    FEWEST_GROUPS,
    TINY,
    Basis,
    Replicates,
    Resampling,
    Statistic,
)
from diascope.metrics.confusion import divide
from diascope.metrics.replicates import estimates_of, replicates_of
from diascope.metrics.scored import ScoredImages

THRESHOLDS = tuple(np.round(np.arange(0.02, 0.99, 0.04), 2).tolist())
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)


def decision_curve(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return the net benefit of the network at each of `THRESHOLDS`, and what it adds.

    Net benefit is the fraction of true positives, less the fraction of false ones times the odds
    of the threshold probability: the true positives that are worth as much, in images of all
    images. What the network adds is its difference from the better of treating all and treating
    none, on the same images.

    The better of two is not a smooth function where the two cross (at a threshold probability equal
    to the prevalence), so a bootstrap of it would not be valid there. Both differences are smooth,
    and the difference from the better one is the smaller of them: its interval goes from the lower
    of the two lower ends to the lower of the two upper ends. The lower end holds with the
    confidence of each interval wherever the curves cross (intersection-union test: Berger 1982,
    Technometrics 24:295-300); far from the crossing it is the usual paired interval. Intervals are
    pointwise: each holds for one threshold that was named beforehand.

    The probabilities must be calibrated.

    Returns
    -------
    list of dict
        ``threshold, prevalence``; the net benefit of the network (``value``) and of treating all
        (``treat_all``; that of treating none is 0); ``better``, the better one of ``"treat all"``
        and ``"treat none"``; and the network's ``difference`` from it, ``difference_low,
        difference_high``. Ends are None where there are too few groups. Empty without a positive
        class.
    """
    if images.positive_index is None:
        return []
    found = replicates_of(images, *_worth_by_group(images), resampling)
    is_positive = images.labels == images.positive_index
    rows = []
    for k, threshold in enumerate(THRESHOLDS):
        from_none, from_all = found[f"from none/{k}"], found[f"from all/{k}"]
        ends = [_student(from_none), _student(from_all)]
        lows, highs = [[one[end] for one in ends] for end in (0, 1)]
        treat_all = from_none.value - from_all.value
        rows.append(
            {
                "threshold": threshold,
                "prevalence": float(is_positive.mean()),
                "value": from_none.value,
                "treat_all": treat_all,
                "better": "treat all" if treat_all > 0 else "treat none",
                "difference": min(from_none.value, from_all.value),
                "difference_low": None if None in lows else min(lows),
                "difference_high": None if None in highs else min(highs),
            }
        )
    return rows


def _worth_by_group(images: ScoredImages) -> tuple[Statistic, dict[str, Basis]]:
    """Return the statistic of the network's differences in net benefit from none and from all."""
    is_positive = (images.labels == images.positive_index)[:, None]
    acted = images.probabilities[:, images.positive_index, None] >= np.array(THRESHOLDS)
    odds = np.array([t / (1 - t) for t in THRESHOLDS])

    def by_group(what: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.zeros((images.n_groups, what.shape[1]))
        np.add.at(counts, images.group_of, what)
        return counts

    of_network = by_group(acted & is_positive) - odds * by_group(acted & ~is_positive)
    of_all = by_group(is_positive) - odds * by_group(~is_positive)
    worth = {"from none": of_network, "from all": of_network - of_all}
    sizes = images.count_by_group()

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        n_images = (weights @ sizes)[:, None]
        return {
            f"{name}/{k}": column
            for name, table in worth.items()
            for k, column in enumerate((weights @ table / n_images).T)
        }

    basis = Basis.of_classes(images.confusion_by_group.sum(axis=2))
    names = [f"{name}/{k}" for name in worth for k in range(len(THRESHOLDS))]
    return statistic, dict.fromkeys(names, basis)


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


def useful_ranges(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return the ranges of thresholds at which the network is better than treating all and none.

    Better means that the pointwise interval of the difference lies above zero. Each range is its
    first and its last threshold, the same where it is only one.

    Examples
    --------
    >>> lows = {0.1: -0.01, 0.2: 0.02, 0.3: 0.04, 0.4: None, 0.5: 0.01}
    >>> useful_ranges([{"threshold": at, "difference_low": low} for at, low in lows.items()])
    [(0.2, 0.3), (0.5, 0.5)]
    """
    ranges = []
    for is_better, group in groupby(rows, key=_is_better):
        if is_better:
            thresholds = [row["threshold"] for row in group]
            ranges.append((thresholds[0], thresholds[-1]))
    return ranges


def _is_better(row: Mapping[str, Any]) -> bool:
    return row["difference_low"] is not None and row["difference_low"] > 0


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
