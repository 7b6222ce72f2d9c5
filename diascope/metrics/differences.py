"""Differences between models on the same images: what they are, and whether they are chance.

The same groups are drawn for both, so that what is hard for both does not blur the difference
(paired bootstrap of clusters: Field & Welsh 2007, JRSS B 69:369-390). There is one way to a
difference, `difference`; how often its intervals hold the truth stands in
``benchmarks/honesty/interval_coverage.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, stdtr

from diascope.metrics.bootstrap import (
    NO_SPREAD,
    TINY,
    Basis,
    Replicates,
    Resampling,
    exact_binomial,
    on_logit_scale,
)
from diascope.metrics.confusion import divide
from diascope.metrics.estimate import Estimate
from diascope.metrics.replicates import estimates_of, model_replicates, replicates_of
from diascope.metrics.scored import ScoredImages

COMPARED = ("auroc", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "brier")
WITHIN_CLASSES = ("auroc", "balanced_accuracy", "sensitivity", "specificity")
MOST_CHANCE = 0.05  # of a difference that is called one
BETTER, MAYBE, NOT_SHOWN, TOO_FEW = "better", "perhaps", "not shown", "too few groups"
DIFFERENT = "different operating points"


def difference(first: Replicates, second: Replicates) -> tuple[Estimate, float | None]:
    """Return the first less the second metric, with its interval and p-value.

    The one way to a difference: model minus model, network minus control, corrupted minus clean,
    subgroup minus rest. The interval is Student's on the logit scale of the values that the
    difference can have, with the standard error of the paired draws, see
    `diascope.metrics.bootstrap.logit_student`. A metric that is the same in every resample has this
    value alone, or those of its exact interval where all groups agree: a difference to a constant
    is then the figure's own interval, shifted. The p-value is two-sided and belongs to the
    interval: below 1 - level exactly where this excludes 0.

    Parameters
    ----------
    first, second : Replicates
        With draws of the same groups.

    Returns
    -------
    difference : Estimate
    p : float or None
        None where there is no interval.
    """
    sides = (first, second)
    basis = min((side.basis for side in sides), key=lambda basis: basis.n_effective)
    value, draws = first.value - second.value, first.draws - second.draws
    if not np.isnan(value):
        (lowest, highest), (least, most) = (_range(side, basis.n_independent) for side in sides)
        bounds = lowest - most, highest - least
        basis = replace(basis, is_mean_of_fractions=False, bounds=bounds)
    found = replace(first, value=value, draws=draws, basis=basis).estimate()
    if NO_SPREAD in found.note:
        return _without_spread(found, basis, sum(map(_is_exact, sides)), first.level)
    if found.low is None:
        return found, None
    low, high = basis.bounds
    centre, error, freedom = on_logit_scale(value, draws[~np.isnan(draws)], basis=basis)
    zero = float(logit(np.clip(-low / (high - low), 0, 1)))
    return found, float(2 * stdtr(freedom, -abs(centre - zero) / error))


def differences(
    first: Mapping[str, Replicates], second: Mapping[str, Replicates]
) -> dict[str, Estimate]:
    """Return the `difference` in each metric."""
    return {name: difference(first[name], second[name])[0] for name in first}


def known_exactly(
    metrics: Mapping[str, Replicates], *networks: ScoredImages
) -> dict[str, Replicates]:
    """Return the metrics for a difference; those of a constant prediction are known exactly.

    Where every image of a fold gets the same answer, the metrics of `WITHIN_CLASSES` follow from
    that answer, whatever the images are. They have no sampling error, and the difference from such
    a constant has the interval of the other figure.
    """
    if not all(map(_is_constant, networks)):
        return dict(metrics)
    return {
        name: replace(one, basis=replace(one.basis, is_mean_of_fractions=False))
        if name in WITHIN_CLASSES
        else one
        for name, one in metrics.items()
    }


def _is_constant(images: ScoredImages) -> bool:
    answers = np.column_stack([images.probabilities, images.predicted])
    folds = (answers[images.fold_of == fold] for fold in range(images.n_folds))
    return all(not len(fold) or np.ptp(fold, axis=0).max() <= TINY for fold in folds)


def _has_spread(metric: Replicates) -> bool:
    defined = metric.draws[~np.isnan(metric.draws)]
    return bool(defined.size and np.ptp(defined) > TINY)


def _is_exact(metric: Replicates) -> bool:
    """Return whether all groups agree, so that a metric has an exact binomial interval."""
    is_at_an_end = metric.basis.is_mean_of_fractions and metric.value in {0.0, 1.0}
    return is_at_an_end and not _has_spread(metric)


def _range(metric: Replicates, n_independent: int) -> tuple[float, float]:
    """Return the least and the greatest value that a metric can have."""
    if _has_spread(metric):
        return metric.basis.bounds
    if _is_exact(metric):
        return exact_binomial(metric.value, n=n_independent, level=metric.level)
    return metric.value, metric.value


def _without_spread(
    found: Estimate, basis: Basis, n_exact: int, level: float
) -> tuple[Estimate, float | None]:
    """Return the interval of a difference that is the same in every resample.

    It is exact where all groups agree on one metric or on both, or where no group differs; other
    differences without spread get none.
    """
    value, n = found.value or 0.0, basis.n_independent
    low, high = basis.bounds
    if not n_exact:
        if abs(value) > TINY:
            return found, None
        _, margin = exact_binomial(0.0, n=n, level=level)
        low, high = -margin, margin
    p = min(1.0, 2 * (1 - min(1.0, abs(value) / max(1, n_exact))) ** n)
    note = found.note.replace(NO_SPREAD, "the same in every resample")
    method = "exact binomial (Clopper-Pearson), since all agree"
    return replace(found, low=low, high=high, method=method, note=note), p


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being reported together (Holm 1979), in the order given.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    weights = np.arange(len(p_values), 0, -1)
    raised = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * weights))
    corrected = np.empty(len(p_values))
    corrected[order] = raised
    return corrected.tolist()


def verdict(p: float | None, p_holm: float | None) -> str:
    """Return what a p-value says of a difference, by itself and among all."""
    if p is None or p_holm is None:
        return TOO_FEW
    if p_holm < MOST_CHANCE:
        return BETTER
    return MAYBE if p < MOST_CHANCE else NOT_SHOWN


@dataclass(frozen=True)
class Comparison:
    """How predictions differ from those of a reference."""

    values: dict[str, Estimate]  # the metrics of `compared_replicates`
    changes: dict[str, Estimate]  # the same, less what the reference has
    flipped: Estimate  # the fraction of the images with another predicted class


def compare_answers(
    reference: ScoredImages, others: Mapping[str, ScoredImages], resampling: Resampling
) -> dict[str, Comparison]:
    """Compare predictions with those of a reference, image by image.

    Parameters
    ----------
    others : mapping of str to ScoredImages
        The same images, see `ScoredImages.with_answers`.

    Returns
    -------
    dict of str to Comparison
        By the names of ``others``.
    """
    before = compared_replicates(reference, resampling)
    compared = {}
    for name, images in others.items():
        after = compared_replicates(images, resampling)
        flips = (images.predicted != reference.predicted).astype(np.float64)
        compared[name] = Comparison(
            values=estimates_of(after),
            changes=differences(known_exactly(after, images), known_exactly(before, reference)),
            flipped=_mean(images, flips, after["accuracy"].basis, resampling).estimate(),
        )
    return compared


def compared_replicates(images: ScoredImages, resampling: Resampling) -> dict[str, Replicates]:
    """Return the metrics of `COMPARED` but Brier, and ``certainty``: the mean top probability."""
    found = model_replicates(images, resampling)
    names = [name for name in COMPARED if name in found and name != "brier"]
    basis = replace(found["accuracy"].basis, is_mean_of_fractions=False)
    certainty = _mean(images, images.probabilities.max(axis=1), basis, resampling)
    return {**{name: found[name] for name in names}, "certainty": certainty}


def _mean(
    images: ScoredImages, values: NDArray[np.float64], basis: Basis, resampling: Resampling
) -> Replicates:
    """Return the mean over images of a value of each, float64 (N,), 0-1."""
    sums, sizes = images.count_by_group(values), images.count_by_group()

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"mean": divide(weights @ sums, weights @ sizes)}

    return replicates_of(images, statistic, {"mean": basis}, resampling)["mean"]
