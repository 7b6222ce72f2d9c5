"""Every metric of a set of predictions, once for all groups and again for each resample of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling, Statistic, estimate, replicate
from diascope.metrics.calibration import squared_errors
from diascope.metrics.confusion import count_bases, count_metrics, divide, group_confusion
from diascope.metrics.discrimination import (
    Ranking,
    fold_rankings,
    mean_rank_metrics,
    rank_basis,
)
from diascope.metrics.estimate import Estimate
from diascope.metrics.per_group import group_bases, group_means
from diascope.metrics.scored import ScoredImages

RANK_METRICS = ("auroc", "average_precision")


@dataclass(frozen=True)
class Replicates:
    """Metrics by name.

    Parameters
    ----------
    points : dict of str to float
        The metric over all groups, NaN where it is undefined.
    draws : dict of str to float64 (R,)
        The metric in resampled groups. The same images and seed draw the same groups, whatever the
        predictions are: draws of two models are paired.
    bases : dict of str to Basis
        What each rests on.
    """

    points: dict[str, float]
    draws: dict[str, NDArray[np.float64]]
    bases: dict[str, Basis]

    def estimates(self, resampling: Resampling) -> dict[str, Estimate]:
        """Return each metric with its interval."""
        return {
            name: estimate(self.points[name], self.draws[name], basis=basis, resampling=resampling)
            for name, basis in self.bases.items()
        }

    def only(self, names: Iterable[str]) -> Replicates:
        """Return some of the metrics."""
        names = list(names)
        return Replicates(
            {name: self.points[name] for name in names},
            {name: self.draws[name] for name in names},
            {name: self.bases[name] for name in names},
        )

    def __sub__(self, other: Replicates) -> Replicates:
        """Return the differences, draw by draw: both are of the same images and seed."""
        return Replicates(
            {name: value - other.points[name] for name, value in self.points.items()},
            {name: values - other.draws[name] for name, values in self.draws.items()},
            {
                name: replace(basis, is_mean_of_fractions=False, bounds=(-1.0, 1.0))
                for name, basis in self.bases.items()
            },
        )

    def __or__(self, other: Replicates) -> Replicates:
        return Replicates(
            self.points | other.points, self.draws | other.draws, self.bases | other.bases
        )


def replicates_of(
    statistic: Statistic,
    bases: dict[str, Basis],
    *,
    strata: NDArray[np.intp],
    resampling: Resampling,
) -> Replicates:
    """Compute metrics once for all groups, and for each resample of them.

    Parameters
    ----------
    statistic : callable
        Takes group weights, see `diascope.metrics.bootstrap.replicate`.
    bases : dict of str to Basis
        Of the metrics that are kept.
    strata : intp (G,)
        The stratum of each group.
    resampling : Resampling
    """
    points = statistic(np.ones((1, strata.size)))
    draws = replicate(statistic, strata, n_resamples=resampling.n_resamples, seed=resampling.seed)
    return Replicates(
        {name: float(points[name][0]) for name in bases},
        {name: draws[name] for name in bases},
        bases,
    )


def mean_replicates(parts: Iterable[Replicates]) -> Replicates:
    """Return the means of the metrics of several models over the same images and draws."""
    parts = list(parts)
    return Replicates(
        {name: float(np.mean([part.points[name] for part in parts])) for name in parts[0].points},
        {name: np.mean([part.draws[name] for part in parts], axis=0) for name in parts[0].draws},
        parts[0].bases,
    )


def pooled_replicates(
    images: ScoredImages,
    by_group: NDArray[np.float64],
    of_group: dict[str, NDArray[np.float64]],
    *,
    positive_index: int | None,
    resampling: Resampling,
) -> Replicates:
    """Return what is pooled over folds: groups are drawn from all of them alike.

    Parameters
    ----------
    images : ScoredImages
    by_group : float64 (G, K, K)
        From `diascope.metrics.confusion.group_confusion`.
    of_group : dict of str to float64 (G,)
        From `diascope.metrics.per_group.group_values`, or empty.
    positive_index : int or None
    resampling : Resampling
    """
    images_by_class = by_group.sum(axis=2)
    present = images_by_class.any(axis=0)
    sizes = images_by_class.sum(axis=1)
    errors = np.bincount(
        images.group_of,
        squared_errors(images.labels, images.probabilities, positive_index=positive_index),
        minlength=images.n_groups,
    )
    flat = by_group.reshape(images.n_groups, -1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = (weights @ flat).reshape(-1, *by_group.shape[1:])
        metrics = count_metrics(confusion, present=present, positive_index=positive_index)
        metrics["brier"] = divide(weights @ errors, weights @ sizes)
        return metrics | group_means(of_group, weights)

    bases = count_bases(by_group, positive_index=positive_index)
    greatest = 2.0 if positive_index is None else 1.0
    bases["brier"] = replace(bases["accuracy"], is_mean_of_fractions=False, bounds=(0.0, greatest))
    if positive_index is not None:
        bases |= group_bases(
            of_group,
            images_by_class,
            positive_index=positive_index,
            group_kind=resampling.group_kind,
        )
    strata = np.zeros(images.n_groups, dtype=np.intp)
    return replicates_of(statistic, bases, strata=strata, resampling=resampling)


def rank_replicates(
    images: ScoredImages,
    by_group: NDArray[np.float64],
    rankings: list[tuple[Ranking, ...]],
    *,
    resampling: Resampling,
) -> Replicates:
    """Return what is averaged over folds: groups are drawn within each of them.

    Parameters
    ----------
    images : ScoredImages
    by_group : float64 (G, K, K)
        From `diascope.metrics.confusion.group_confusion`.
    rankings : list of tuple of Ranking
        From `diascope.metrics.discrimination.fold_rankings`.
    resampling : Resampling
    """
    basis = rank_basis(rankings, by_group.sum(axis=2), fold_of_group=images.fold_of_group)
    return replicates_of(
        lambda weights: mean_rank_metrics(rankings, weights),
        dict.fromkeys(RANK_METRICS, basis),
        strata=images.fold_of_group,
        resampling=resampling,
    )


def model_replicates(
    images: ScoredImages,
    predicted: NDArray[np.intp],
    positive_index: int | None,
    resampling: Resampling,
) -> Replicates:
    """Return every metric of the answers of one model.

    Parameters
    ----------
    images : ScoredImages
    predicted : intp (N,)
        The classes that are called.
    positive_index : int or None
    resampling : Resampling
    """
    by_group = group_confusion(
        images.labels,
        predicted,
        group_of=images.group_of,
        n_groups=images.n_groups,
        n_classes=images.probabilities.shape[1],
    )
    rankings = fold_rankings(
        images.labels,
        images.probabilities,
        group_of=images.group_of,
        fold_of=images.fold_of,
        positive_index=positive_index,
    )
    rankings += [()] * (images.n_folds - len(rankings))  # of folds that hold none of these images
    return pooled_replicates(
        images, by_group, {}, positive_index=positive_index, resampling=resampling
    ) | rank_replicates(images, by_group, rankings, resampling=resampling)
