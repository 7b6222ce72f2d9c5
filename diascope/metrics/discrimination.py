"""Metrics of ranking: AUROC and average precision, for one weighting of the groups or thousands.

Images are sorted once; a weighting of the groups then costs a few cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, class_limits
from diascope.metrics.confusion import divide

CHUNK_ELEMENTS = 2**15


@dataclass(frozen=True)
class Ranking:
    """Images in descending order of score.

    Parameters
    ----------
    is_positive : float64 (N,)
        1 for positive images, 0 for negative ones.
    group_of : intp (N,)
        The group of each image.
    tie_ends : intp (B,)
        The last place of each run of equal scores; B is N where no two scores are equal.
    """

    is_positive: NDArray[np.float64]
    group_of: NDArray[np.intp]
    tie_ends: NDArray[np.intp]


def ranking(
    is_positive: NDArray[np.bool_], scores: NDArray[np.float64], *, group_of: NDArray[np.intp]
) -> Ranking:
    """Sort images by score, best first.

    Parameters
    ----------
    is_positive : bool (N,)
        Which images are positive.
    scores : float64 (N,)
        Higher means more likely positive; any finite numbers.
    group_of : intp (N,)
        The group of each image, 0 to G - 1.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    return Ranking(is_positive[order].astype(np.float64), group_of[order], ends)


def rank_metrics(
    images: Ranking, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and average precision for each weighting of the groups.

    AUROC is the probability that a positive image has a higher score than a negative one, ties
    counting half (Hanley & McNeil 1982, Radiology 143:29-36). Average precision is the mean of
    the precision at each positive image, ties taken together and without interpolation, as in
    scikit-learn.

    Parameters
    ----------
    images : Ranking
        The images, sorted.
    weights : float64 (R, G), not negative
        How often each group counts; ones for the plain metrics.

    Returns
    -------
    auroc : float64 (R,)
        NaN where positives or negatives have no weight.
    average_precision : float64 (R,)
        NaN there too: without negatives it is 1 whatever the scores.
    """
    n_rows = max(1, CHUNK_ELEMENTS // images.group_of.size)
    chunks = [
        _rank_chunk(images, weights[start : start + n_rows])
        for start in range(0, weights.shape[0], n_rows)
    ]
    return (
        np.concatenate([auroc for auroc, _ in chunks]),
        np.concatenate([precision for _, precision in chunks]),
    )


def _rank_chunk(
    images: Ranking, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight = weights[:, images.group_of]
    flagged = np.cumsum(weight, axis=1)
    weight *= images.is_positive
    found = np.cumsum(weight, axis=1)
    if images.tie_ends.size < images.group_of.size:
        flagged, found = flagged[:, images.tie_ends], found[:, images.tie_ends]
    n_positive, n_negative = found[:, -1], flagged[:, -1] - found[:, -1]
    new_found = np.diff(found, axis=1, prepend=0)
    new_negative = np.diff(flagged, axis=1, prepend=0) - new_found
    concordant = np.einsum("rb,rb->r", new_negative, found - new_found / 2)
    precision = found / np.maximum(flagged, np.finfo(np.float64).tiny)
    precision_sum = np.einsum("rb,rb->r", new_found, precision)
    return (
        divide(concordant, n_positive * n_negative),
        divide(precision_sum, np.where(n_negative > 0, n_positive, 0.0)),
    )


def macro_rank_metrics(
    rankings: tuple[Ranking, ...], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and average precision, averaged over rankings of the same groups.

    Parameters
    ----------
    rankings : tuple of Ranking
        One where a class is positive, one a class otherwise.
    weights : float64 (R, G)
        How often each group counts.

    Returns
    -------
    auroc, average_precision : float64 (R,)
        NaN where a class has no weight, or there is no ranking.
    """
    if not rankings:
        undefined = np.full(weights.shape[0], np.nan)
        return undefined, undefined
    results = [rank_metrics(images, weights) for images in rankings]
    return (
        np.mean([auroc for auroc, _ in results], axis=0),
        np.mean([precision for _, precision in results], axis=0),
    )


def fold_rankings(
    labels: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    *,
    group_of: NDArray[np.intp],
    fold_of: NDArray[np.intp],
    positive_index: int | None,
) -> list[tuple[Ranking, ...]]:
    """Sort the images of each fold; scores of different folds come from different models.

    Parameters
    ----------
    labels : intp (N,)
        Class indices, 0 to K - 1.
    probabilities : float64 (N, K)
        One column a class.
    group_of, fold_of : intp (N,)
        The group and the fold of each image, numbered from 0.
    positive_index : int or None
        The positive class, or None to set each class against the rest.

    Returns
    -------
    list of tuple of Ranking
        For each fold, the rankings of the classes that have images in it; none where one class
        only is there and ranking means nothing.
    """
    every = range(probabilities.shape[1]) if positive_index is None else (positive_index,)
    folds = []
    for fold in range(int(fold_of.max()) + 1):
        inside = np.flatnonzero(fold_of == fold)
        classes = set(labels[inside].tolist())
        ranked = [k for k in every if k in classes and len(classes) > 1]
        folds.append(
            tuple(
                ranking(labels[inside] == k, probabilities[inside, k], group_of=group_of[inside])
                for k in ranked
            )
        )
    return folds


def mean_rank_metrics(
    folds: list[tuple[Ranking, ...]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return ``auroc`` and ``average_precision``, averaged over the folds that have them.

    Parameters
    ----------
    folds : list of tuple of Ranking
        From `fold_rankings`.
    weights : float64 (R, G)
        How often each group counts.

    Returns
    -------
    dict of str to float64 (R,)
        NaN where a weighting leaves one of these folds without a class.
    """
    ranked = [rankings for rankings in folds if rankings] or folds
    results = [macro_rank_metrics(rankings, weights) for rankings in ranked]
    return {
        "auroc": np.mean([auroc for auroc, _ in results], axis=0),
        "average_precision": np.mean([precision for _, precision in results], axis=0),
    }


def rank_basis(
    folds: list[tuple[Ranking, ...]],
    images_by_class: NDArray[np.float64],
    *,
    fold_of_group: NDArray[np.intp],
) -> Basis:
    """Return what the rank metrics rest on.

    Parameters
    ----------
    folds : list of tuple of Ranking
        From `fold_rankings`; those with one class only do not inform.
    images_by_class : float64 (G, K)
        Images of each class in each group.
    fold_of_group : intp (G,)
        The fold of each group.
    """
    ranked = np.array([bool(rankings) for rankings in folds])
    informing = images_by_class[ranked[fold_of_group]] if ranked.any() else images_by_class
    n_independent, n_effective = class_limits(informing)
    return Basis(
        n_images=int(informing.sum()),
        n_groups=informing.shape[0],
        n_independent=n_independent,
        n_effective=n_effective,
        n_strata=max(1, int(np.count_nonzero(ranked))),
    )
