"""Metrics of ranking: AUROC and average precision, for one weighting of the groups or thousands.

Images are sorted once; a weighting of the groups then costs a few cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis
from diascope.metrics.confusion import divide

CHUNK_ELEMENTS = 2**15
RANK_METRICS = ("auroc", "average_precision")


@dataclass(frozen=True)
class Ranking:
    """Images in descending order of score, and where the P positive ones among them lie."""

    group_of: NDArray[np.intp]  # (N,): the group of each image
    positives: NDArray[np.intp]  # (P,): the places of the positive images
    run_starts: NDArray[np.intp]  # (P,): the first place of the run of equal scores that each is in
    run_ends: NDArray[np.intp]  # (P,): the last place of it
    first_found: NDArray[np.intp]  # (P,): which positive image is the first in the same run
    last_found: NDArray[np.intp]  # (P,): which is the last
    has_ties: bool  # whether any two scores are equal
    of_class: int = 0  # the class index of the positive images


def ranking(
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    group_of: NDArray[np.intp],
    of_class: int = 0,
) -> Ranking:
    """Sort images by score, best first.

    Parameters
    ----------
    is_positive : bool (N,)
    scores : float64 (N,)
        Higher means more likely positive; any finite numbers.
    group_of : intp (N,)
        The group of each image, 0 to G - 1.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    starts = np.append(0, ends[:-1] + 1)
    positives = np.flatnonzero(is_positive[order])
    runs = np.searchsorted(ends, positives)
    return Ranking(
        group_of=group_of[order],
        positives=positives,
        run_starts=starts[runs],
        run_ends=ends[runs],
        first_found=np.searchsorted(positives, starts[runs]),
        last_found=np.searchsorted(positives, ends[runs], side="right") - 1,
        has_ties=ends.size < scores.size,
        of_class=of_class,
    )


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
    weights : float64 (R, G)
        How often each group counts, whole numbers; ones for the plain metrics.

    Returns
    -------
    auroc : float64 (R,)
        NaN where positives or negatives have no weight.
    average_precision : float64 (R,)
        NaN there too: without negatives it is 1 whatever the scores.
    """
    n_rows = max(1, CHUNK_ELEMENTS // images.group_of.size)
    counts = weights.astype(np.int64)  # sums of whole numbers are faster, and exact
    chunks = [
        _rank_chunk(images, counts[start : start + n_rows])
        for start in range(0, counts.shape[0], n_rows)
    ]
    aurocs, precisions = zip(*chunks, strict=True)
    return np.concatenate(aurocs), np.concatenate(precisions)


def _rank_chunk(
    images: Ranking, counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over the positive images: of each, what lies above it, and what of that is positive."""
    weight = counts[:, images.group_of]
    flagged = np.cumsum(weight, axis=1)
    n_all = flagged[:, -1]
    weight = weight[:, images.positives]
    found = np.cumsum(weight, axis=1)
    n_positive = weight.sum(axis=1)
    n_negative = n_all - n_positive
    if images.has_ties:
        above = flagged[:, images.run_starts] - counts[:, images.group_of[images.run_starts]]
        above -= (found - weight)[:, images.first_found]
        flagged, found = flagged[:, images.run_ends], found[:, images.last_found]
        twice_worse = 2 * n_negative[:, None] - above - (flagged - found)
    else:
        flagged = flagged[:, images.positives]
        twice_worse = 2 * (n_negative[:, None] - (flagged - found))
    concordant = np.einsum("rp,rp->r", weight, twice_worse) / 2
    precision = np.einsum("rp,rp->r", weight, found / np.maximum(flagged, 1))
    return (
        divide(concordant, n_positive * n_negative.astype(np.float64)),
        divide(precision, np.where(n_negative > 0, n_positive, 0).astype(np.float64)),
    )


def macro_rank_metrics(
    rankings: tuple[Ranking, ...], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `rank_metrics` averaged over rankings of the same groups, one a class.

    NaN where a class has no weight, or there is no ranking.
    """
    if not rankings:
        undefined = np.full(weights.shape[0], np.nan)
        return undefined, undefined
    aurocs, precisions = zip(*(rank_metrics(one, weights) for one in rankings), strict=True)
    return np.mean(aurocs, axis=0), np.mean(precisions, axis=0)


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
        groups = group_of[inside]
        folds.append(
            tuple(
                ranking(labels[inside] == k, probabilities[inside, k], group_of=groups, of_class=k)
                for k in ranked
            )
        )
    return folds


def mean_rank_metrics(
    folds: list[tuple[Ranking, ...]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return ``auroc`` and ``average_precision``, averaged over the folds that have them: (R,).

    And, for each class k that is ranked, ``auroc/k`` and ``average_precision/k``: means over the
    folds that have the class. NaN where a weighting leaves one of these folds without a class.
    """
    ranked = [rankings for rankings in folds if rankings]
    if not ranked:
        undefined = np.full(weights.shape[0], np.nan)
        return dict.fromkeys(RANK_METRICS, undefined)
    of_class: dict[str, list[NDArray[np.float64]]] = {}
    of_fold: dict[str, list[NDArray[np.float64]]] = {name: [] for name in RANK_METRICS}
    for rankings in ranked:
        found = [rank_metrics(one, weights) for one in rankings]
        for name, values in zip(RANK_METRICS, zip(*found, strict=True), strict=True):
            of_fold[name].append(np.mean(values, axis=0))
            for one, value in zip(rankings, values, strict=True):
                of_class.setdefault(f"{name}/{one.of_class}", []).append(value)
    return {name: np.mean(values, axis=0) for name, values in {**of_fold, **of_class}.items()}


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
    """
    ranked = np.array([bool(rankings) for rankings in folds])
    informing = images_by_class[ranked[fold_of_group]] if ranked.any() else images_by_class
    n_strata = max(1, int(np.count_nonzero(ranked)))
    return replace(Basis.of_classes(informing), n_strata=n_strata)


def class_rank_basis(
    folds: list[tuple[Ranking, ...]],
    images_by_class: NDArray[np.float64],
    index: int,
    *,
    fold_of_group: NDArray[np.intp],
) -> Basis:
    """Return what the rank metrics of one class against the rest rest on; see `rank_basis`."""
    own = images_by_class[:, index]
    against = np.stack([own, images_by_class.sum(axis=1) - own], axis=1)
    of_class = [tuple(one for one in fold if one.of_class == index) for fold in folds]
    return rank_basis(of_class, against, fold_of_group=fold_of_group)
