"""Prediction sets, which hold the true class as often as promised, and what to refer by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.replicates import estimates_of, replicates_of
from diascope.metrics.scored import ScoredImages
from diascope.system.words import counted

Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # what happens, and among which images: (N,)

COVERAGE = 0.9
ANSWERED = (1.0, 0.9, 0.8, 0.7, 0.5)  # fractions of the images in `risk_coverage`
RULE = "referred unless the set holds the predicted class, and no other"
NO_CLASS = "no class is likely enough"
SEVERAL_CLASSES = "several classes are possible"
ANOTHER_CLASS = "the set holds another class than the predicted one"


@dataclass(frozen=True)
class PredictionSets:
    """From which probability on a class is in the set."""

    coverage: float  # what is promised for the images of each class, 0-1
    # (K,): a class is in the set from this probability on, by the softmax before calibration; 0
    # where it always is
    least: tuple[float, ...]
    n_groups: tuple[int, ...]  # (K,): the groups with the class that this was chosen on

    def contains(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which classes are in the set of each image, by softmax: bool (N, K)."""
        return probabilities >= np.array(self.least)


def fewest_groups_for_sets(coverage: float) -> int:
    """Return how many groups a class needs, so that it can ever be left out of a set.

    Examples
    --------
    >>> fewest_groups_for_sets(0.9), fewest_groups_for_sets(0.95)
    (9, 19)
    """
    return int(np.ceil(1 / (1 - coverage) - 1 - 1e-9))


def why_no_sets(sets: PredictionSets, classes: Sequence[str], group_kind: str) -> str:
    """Return why sets are of no use, as the end of a sentence; empty where they are.

    A class with fewer groups than `fewest_groups_for_sets` is in every set, so that all images
    which are called otherwise would be referred.

    Examples
    --------
    >>> why_no_sets(PredictionSets(0.9, (0.4, 0.0), (30, 8)), ("benign", "malignant"), "patient")
    'they need at least 9 patients of each class to choose limits on, and malignant has 8'
    >>> why_no_sets(PredictionSets(0.9, (0.4, 0.3), (30, 9)), ("benign", "malignant"), "patient")
    ''
    """
    n_needed = fewest_groups_for_sets(sets.coverage)
    found = zip(classes, sets.n_groups, strict=True)
    short = [f"{name} has {n}" for name, n in found if n < n_needed]
    if not short:
        return ""
    return (
        f"they need at least {counted(n_needed, group_kind)} of each class to choose limits on, "
        f"and {', '.join(short)}"
    )


def choose_sets(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.str_],
    *,
    coverage: float = COVERAGE,
) -> PredictionSets:
    """Choose, class by class, the probability from which on it belongs to the set.

    Promised is: draw a new group that has images of a class, and one of these images at random;
    the class is in its set with at least the coverage, on average over the groups that this was
    chosen on. That is split conformal prediction for each class by itself (Vovk 2012, "Conditional
    validity of inductive conformal predictors", Proceedings of Machine Learning Research 25), with
    the images of a group sharing the weight of one (Lee, Barber & Willett 2023, "Distribution-free
    inference with hierarchical data", arXiv:2306.06342). A class with fewer groups than
    `fewest_groups_for_sets` is in every set.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    probabilities : float64 (N, K), 0-1
        The softmax of logits that took no part in any choice on these images.
    groups : str (N,)
    coverage : float
        0-1.

    Examples
    --------
    >>> labels, sure = np.zeros(20, int), np.linspace(0.5, 0.99, 20)
    >>> probabilities, groups = np.stack([sure, 1 - sure], axis=1), np.arange(20).astype(str)
    >>> found = choose_sets(labels, probabilities, groups, coverage=0.9)
    >>> [round(value, 3) for value in found.least], found.n_groups
    ([0.526, 0.0], (20, 0))
    """
    least, n_groups = [], []
    for index in range(probabilities.shape[1]):
        mine = labels == index
        names, group_of = np.unique(groups[mine], return_inverse=True)
        n_groups.append(len(names))
        least.append(_least(probabilities[mine, index], group_of, coverage))
    return PredictionSets(coverage, tuple(least), tuple(n_groups))


def _least(own: NDArray[np.float64], group_of: NDArray[np.intp], coverage: float) -> float:
    """Return the weighted quantile of what images of a class get for it; 0 where there is none."""
    n_groups = int(group_of.max(initial=-1)) + 1
    order = np.argsort(-own, kind="stable")
    shares = 1 / (np.bincount(group_of)[group_of[order]] * (n_groups + 1))
    reached = np.flatnonzero(np.cumsum(shares) >= coverage - 1e-12)
    return float(own[order][reached[0]]) if len(reached) else 0.0


def reasons_to_refer(inside: NDArray[np.bool_], called: NDArray[np.integer]) -> NDArray[np.str_]:
    """Say of each image why it is one for a human: str (N,), empty where the answer may stand.

    The one rule (`RULE`) of the report, of the metrics and of ``predict``.

    Parameters
    ----------
    inside : bool (N, K)
        Which classes are in the prediction set of each image.
    called : int (N,)
        The class that is called, at the operating point: one may be called that the set is without.

    Examples
    --------
    >>> inside = np.array([[True, False], [True, True], [False, True]])
    >>> reasons_to_refer(inside, np.array([0, 0, 0])).tolist()[:2]
    ['', 'several classes are possible']
    """
    sizes = inside.sum(axis=1)
    is_another = ~inside[np.arange(len(inside)), called]
    cases = [sizes == 0, sizes > 1, is_another]
    return np.select(cases, [NO_CLASS, SEVERAL_CLASSES, ANOTHER_CLASS], "")


def judge_sets(
    images: ScoredImages, inside: NDArray[np.bool_], resampling: Resampling
) -> dict[str, Any]:
    """Return how often sets hold the true class, and what referring by them leaves.

    Parameters
    ----------
    inside : bool (N, K)
        Which classes are in the set of each image.

    Returns
    -------
    dict
        ``coverage``, an estimate a class: the mean over its groups of the fraction of their images
        of the class whose set holds it, which is what `choose_sets` promises;
        ``coverage_of_images``: the fraction of all images of the class. ``rule``, which is `RULE`;
        ``referred``: the fraction of all images that are; ``errors_kept``: the fraction of errors
        among the others; ``by_class``, see `_by_class`; ``mean_size`` of the sets.
    """
    is_referred = reasons_to_refer(inside, images.predicted) != ""
    is_wrong = images.predicted != images.labels
    is_held = inside[np.arange(images.n_images), images.labels]
    every = np.ones(images.n_images, dtype=bool)
    of_class = [images.labels == k for k in range(images.task.n_classes)]
    covered = [(is_held, mine) for mine in of_class]
    referred, errors_kept = fractions(
        images, [(is_referred, every), (is_wrong, ~is_referred)], resampling
    )
    return {
        "rule": RULE,
        "coverage": _means_of_groups(images, covered, resampling),
        "coverage_of_images": fractions(images, covered, resampling),
        "referred": referred,
        "errors_kept": errors_kept,
        "by_class": _by_class(images, is_referred, resampling),
        "mean_size": float(inside.sum(axis=1).mean()),
    }


def _by_class(
    images: ScoredImages, is_referred: NDArray[np.bool_], resampling: Resampling
) -> list[dict[str, Any]]:
    """Return what becomes of the images of each class.

    Returns
    -------
    list of dict
        ``n_images``; ``n_kept``, those not referred, and ``n_wrong_kept``, those of them that are
        misclassified: the reader is reassured falsely. As estimates ``referred`` and
        ``wrong_kept``, fractions of the images of the class, and ``error_rate_kept``, the fraction
        of ``n_kept``.
    """
    is_wrong = images.predicted != images.labels
    rows = []
    for number in range(images.task.n_classes):
        mine = images.labels == number
        wrong_kept = is_wrong & ~is_referred
        parts = [(is_referred, mine), (wrong_kept, mine), (is_wrong, mine & ~is_referred)]
        referred, missed, error_rate = fractions(images, parts, resampling)
        rows.append(
            {
                "n_images": int(mine.sum()),
                "n_kept": int((mine & ~is_referred).sum()),
                "n_wrong_kept": int((mine & wrong_kept).sum()),
                "referred": referred,
                "wrong_kept": missed,
                "error_rate_kept": error_rate,
            }
        )
    return rows


def _counts(
    images: ScoredImages, parts: Sequence[Part]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each part happens in each group, and among how many images: (G, P) each."""
    hits = [images.count_by_group(happens & among) for happens, among in parts]
    totals = [images.count_by_group(among) for _, among in parts]
    return np.stack(hits, axis=1), np.stack(totals, axis=1)


def _means_of_groups(
    images: ScoredImages,
    parts: Sequence[Part],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return the means over groups of the fractions within each: estimates, see `fractions`."""
    hits, totals = _counts(images, parts)
    has = (totals > 0).astype(np.float64)
    within = np.nan_to_num(divide(hits, totals))

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = divide(weights @ within, weights @ has)
        return {str(number): column for number, column in enumerate(found.T)}

    bases = {}
    for number, (of_group, is_there) in enumerate(zip(totals.T, has.T, strict=True)):
        n_groups = int(is_there.sum())
        n_images = int(of_group.sum())
        bases[str(number)] = Basis(n_images, n_groups, n_groups, float(n_groups), "no such image")
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    return [found[name].to_dict() for name in bases]


def fractions(
    images: ScoredImages,
    parts: Sequence[Part],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return, for each (what happens, among which images), how often it does: estimates."""
    hits, totals = _counts(images, parts)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = divide(weights @ hits, weights @ totals)
        return {str(number): column for number, column in enumerate(found.T)}

    bases = {str(k): Basis.of_images(of_group) for k, of_group in enumerate(totals.T)}
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    return [found[name].to_dict() for name in bases]


def risk_coverage(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return the fraction of errors where only the most certain images are answered.

    An image is as certain as the class that is called is probable. Geifman & El-Yaniv 2017,
    "Selective Classification for Deep Neural Networks", NeurIPS.

    Returns
    -------
    list of dict
        For each of `ANSWERED`: ``answered``, 0-1; ``certainty``, the least of an image that is
        answered; ``n_answered``, more than the fraction where certainties are equal; ``error``,
        the estimate of the fraction of errors among these images; ``by_class``,
        ``n_wrong`` and ``n_answered`` of the images of each class.
    """
    certainty = images.probabilities[np.arange(images.n_images), images.predicted]
    descending = np.sort(certainty)[::-1]
    n_wanted = [max(1, round(fraction * images.n_images)) for fraction in ANSWERED]
    cutoffs = descending[np.array(n_wanted) - 1]
    is_wrong = images.predicted != images.labels
    answered = [certainty >= cutoff for cutoff in cutoffs]
    errors = fractions(images, [(is_wrong, one) for one in answered], resampling)
    return [
        {
            "answered": fraction,
            "certainty": float(cutoff),
            "n_answered": int(one.sum()),
            "error": error,
            "by_class": [
                {
                    "n_wrong": int((one & is_wrong & (images.labels == k)).sum()),
                    "n_answered": int((one & (images.labels == k)).sum()),
                }
                for k in range(images.task.n_classes)
            ],
        }
        for fraction, cutoff, one, error in zip(ANSWERED, cutoffs, answered, errors, strict=True)
    ]
