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

from diascope.metrics.bootstrap import TINY, Basis, Replicates, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.replicates import estimates_of, replicates_of
from diascope.metrics.scored import ScoredImages

THRESHOLDS = tuple(np.round(np.arange(0.02, 0.99, 0.04), 2).tolist())
OUTCOMES = ("tp", "fp", "tn", "fn")
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)


def decision_curve(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return the net benefit of the network at each of `THRESHOLDS`, and what it adds.

    Net benefit is the fraction of true positives, less the fraction of false ones times the odds
    of the threshold probability: the true positives that are worth as much, in images of all
    images. What the network adds is its difference from the better of treating all and treating
    none, on the same images.

    Compared with treating none, the network gains the true positives and loses by the false
    positives; compared with treating all, it gains the true negatives and loses by the false
    negatives. `_difference` makes an interval of the intervals of these two fractions: at the ends
    of the curve one of them is so rare that a standard error says nothing.

    The better of two is not a smooth function where the two cross (at a threshold probability equal
    to the prevalence). The difference from the better one is the smaller of the two differences:
    its interval goes from the lower of the two lower ends to the lower of the two upper ends. The
    lower end holds with the confidence of each interval wherever the curves cross
    (intersection-union test: Berger 1982, Technometrics 24:295-300). Intervals are pointwise: each
    holds for one threshold that was named beforehand.

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
    found = _outcomes(images, resampling)
    prevalence = float((images.labels == images.positive_index).mean())
    rows = []
    for k, threshold in enumerate(THRESHOLDS):
        odds = threshold / (1 - threshold)
        tp, fp, tn, fn = (found[f"{kind}/{k}"] for kind in OUTCOMES)
        from_none, from_all = _difference(tp, 1, fp, odds), _difference(tn, odds, fn, 1)
        treat_all = prevalence - odds * (1 - prevalence)
        ends = [one[1:] for one in (from_none, from_all) if one[1] <= one[2]]
        low, high = np.min(ends, axis=0).tolist() if len(ends) == 2 else (None, None)
        rows.append(
            {
                "threshold": threshold,
                "prevalence": prevalence,
                "value": from_none[0],
                "treat_all": treat_all,
                "better": "treat all" if treat_all > 0 else "treat none",
                "difference": min(from_none[0], from_all[0]),
                "difference_low": low,
                "difference_high": high,
            }
        )
    return rows


def _outcomes(images: ScoredImages, resampling: Resampling) -> dict[str, Replicates]:
    """Return the fraction of all images of each of `OUTCOMES` at each threshold, resampled."""
    is_positive = (images.labels == images.positive_index)[:, None]
    treated = images.probabilities[:, images.positive_index, None] >= np.array(THRESHOLDS)

    def by_group(what: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.zeros((images.n_groups, what.shape[1]))
        np.add.at(counts, images.group_of, what)
        return counts

    counts = {
        "tp": by_group(treated & is_positive),
        "fp": by_group(treated & ~is_positive),
        "tn": by_group(~treated & ~is_positive),
        "fn": by_group(~treated & is_positive),
    }
    sizes = images.count_by_group()

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        n_images = (weights @ sizes)[:, None]
        return {
            f"{kind}/{k}": column
            for kind, table in counts.items()
            for k, column in enumerate((weights @ table / n_images).T)
        }

    of_classes = Basis.of_classes(images.confusion_by_group.sum(axis=2))
    names = [f"{kind}/{k}" for kind in OUTCOMES for k in range(len(THRESHOLDS))]
    return replicates_of(images, statistic, dict.fromkeys(names, of_classes), resampling)


def _difference(
    gain: Replicates, gain_worth: float, loss: Replicates, loss_worth: float
) -> tuple[float, float, float]:
    """Return a gain less a loss, and the ends of its interval, NaN where there is none.

    The interval is made of those of the two fractions and of their correlation over the resamples:
    method of variance estimates recovery, Zou & Donner 2008, "Construction of confidence limits
    about effect measures: a general approach", Statistics in Medicine 27:1693-1702. It is as
    lopsided as they are, and far from the ends of their range it is the usual paired interval.
    """
    value = gain_worth * gain.value - loss_worth * loss.value
    first, second = gain.estimate(), loss.estimate()
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return value, np.nan, np.nan
    has_spread = min(np.ptp(gain.draws), np.ptp(loss.draws)) > TINY
    correlation = float(np.corrcoef(gain.draws, loss.draws)[0, 1]) if has_spread else 0.0

    def reach(of_gain: float, of_loss: float) -> float:
        up, down = gain_worth * abs(of_gain), loss_worth * abs(of_loss)
        return float(np.sqrt(max(0.0, up**2 + down**2 - 2 * correlation * up * down)))

    low = value - reach(gain.value - first.low, second.high - loss.value)
    high = value + reach(first.high - gain.value, loss.value - second.low)
    return value, low, high


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
