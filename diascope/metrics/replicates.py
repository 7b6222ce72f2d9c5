"""Every metric of scored images, once for all groups and again for each resample of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Replicates, Resampling, Statistic, replicate
from diascope.metrics.confusion import count_bases, count_metrics, divide
from diascope.metrics.discrimination import (
    RANK_METRICS,
    Ranking,
    class_rank_basis,
    fold_rankings,
    mean_rank_metrics,
    rank_basis,
)
from diascope.metrics.estimate import Estimate
from diascope.metrics.scored import ScoredImages


def replicates_of(
    images: ScoredImages,
    statistic: Statistic,
    bases: dict[str, Basis],
    resampling: Resampling,
    *,
    within_folds: bool = False,
) -> dict[str, Replicates]:
    """Resample the groups of images, see `diascope.metrics.bootstrap.replicate`.

    Parameters
    ----------
    within_folds : bool
        Draw as many groups from each fold as it has, instead of drawing from all alike.
    """
    strata = images.fold_of_group if within_folds else np.zeros(images.n_groups, dtype=np.intp)
    return replicate(statistic, bases, strata, resampling, group_kind=images.group_kind)


def estimates_of(replicates: dict[str, Replicates]) -> dict[str, Estimate]:
    """Return each metric with its interval."""
    return {name: found.estimate() for name, found in replicates.items()}


def mean_replicates(parts: Sequence[dict[str, Replicates]]) -> dict[str, Replicates]:
    """Return the means of the metrics of several models over the same images and draws."""
    return {
        name: replace(
            first,
            value=float(np.mean([part[name].value for part in parts])),
            draws=np.mean([part[name].draws for part in parts], axis=0),
        )
        for name, first in parts[0].items()
    }


def model_replicates(images: ScoredImages, resampling: Resampling) -> dict[str, Replicates]:
    """Return every metric of the predictions of one model.

    Confusion counts, and all that follows from them, and the Brier score are pooled over the
    folds of a cross-validation; AUROC and average precision are computed in each fold and
    averaged, since scores of different models do not rank together.
    """
    ranked = rank_replicates(images, rankings_of(images), resampling)
    return pooled_replicates(images, resampling) | ranked


def rankings_of(images: ScoredImages) -> list[tuple[Ranking, ...]]:
    """Sort the images of each fold; a fold that holds none of them has no ranking."""
    rankings = fold_rankings(
        images.labels,
        images.probabilities,
        group_of=images.group_of,
        fold_of=images.fold_of,
        positive_index=images.positive_index,
    )
    return rankings + [()] * (images.n_folds - len(rankings))


def pooled_replicates(images: ScoredImages, resampling: Resampling) -> dict[str, Replicates]:
    """Return what is pooled over folds: groups are drawn from all of them alike."""
    by_group, positive_index = images.confusion_by_group, images.positive_index
    present = by_group.sum(axis=(0, 2)) > 0
    sizes = images.count_by_group()
    errors = images.count_by_group(squared_errors(images))
    flat = by_group.reshape(images.n_groups, -1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = (weights @ flat).reshape(-1, *by_group.shape[1:])
        metrics = count_metrics(confusion, present=present, positive_index=positive_index)
        return metrics | {"brier": divide(weights @ errors, weights @ sizes)}

    bases = count_bases(by_group, positive_index=positive_index)
    greatest = 2.0 if positive_index is None else 1.0
    bases["brier"] = replace(bases["accuracy"], is_mean_of_fractions=False, bounds=(0.0, greatest))
    return replicates_of(images, statistic, bases, resampling)


def rank_replicates(
    images: ScoredImages, rankings: list[tuple[Ranking, ...]], resampling: Resampling
) -> dict[str, Replicates]:
    """Return what is averaged over folds: groups are drawn within each of them."""
    by_class, fold_of_group = images.confusion_by_group.sum(axis=2), images.fold_of_group
    basis = rank_basis(rankings, by_class, fold_of_group=fold_of_group)
    bases: dict[str, Basis] = dict.fromkeys(RANK_METRICS, basis)
    for index in sorted({one.of_class for of_fold in rankings for one in of_fold}):
        basis = class_rank_basis(rankings, by_class, index, fold_of_group=fold_of_group)
        bases |= {f"{name}/{index}": basis for name in RANK_METRICS}
    return replicates_of(
        images,
        lambda weights: mean_rank_metrics(rankings, weights),
        bases,
        resampling,
        within_folds=True,
    )


def squared_errors(images: ScoredImages) -> NDArray[np.float64]:
    """Return the squared error of each image's probabilities, (N,); its mean is the Brier score.

    Brier 1950, "Verification of forecasts expressed in terms of probability", Monthly Weather
    Review 78:1-3. With a positive class it is the error of its probability alone, 0-1, as is the
    custom for two classes; without one the sum over the classes, 0-2.
    """
    happened = images.labels[:, None] == np.arange(images.task.n_classes)
    errors = (images.probabilities - happened) ** 2
    positive = images.positive_index
    return errors.sum(axis=1) if positive is None else errors[:, positive]
