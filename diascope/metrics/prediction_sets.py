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

COVERAGE = 0.9
ANSWERED = (1.0, 0.9, 0.8, 0.7, 0.5)  # fractions of the images in `risk_coverage`
RULE = "referred unless the set holds the class that is called, and no other"
NO_CLASS = "no class is likely enough"
SEVERAL_CLASSES = "several classes are possible"
ANOTHER_CLASS = "the set holds another class than the one that is called"


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
    """Return how often sets hold the true class, and how often an image is referred.

    Parameters
    ----------
    inside : bool (N, K)
        Which classes are in the set of each image.

    Returns
    -------
    dict
        ``coverage``, a list of estimates, one a class: the fraction of the images of the class
        whose set holds it. ``referred``: the fraction of all images that are referred, by `RULE`,
        which is given as ``rule``. ``errors_kept``: the fraction of errors among the others.
        ``mean_size`` of the sets.
    """
    is_referred = reasons_to_refer(inside, images.predicted) != ""
    is_wrong = images.predicted != images.labels
    is_held = inside[np.arange(images.n_images), images.labels]
    every = np.ones(images.n_images, dtype=bool)
    of_class = [images.labels == k for k in range(images.task.n_classes)]
    fractions = _fractions(
        images,
        [*((is_held, mine) for mine in of_class), (is_referred, every), (is_wrong, ~is_referred)],
        resampling,
    )
    return {
        "rule": RULE,
        "coverage": fractions[:-2],
        "referred": fractions[-2],
        "errors_kept": fractions[-1],
        "mean_size": float(inside.sum(axis=1).mean()),
    }


def _fractions(
    images: ScoredImages,
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return, for each (what happens, among which images), how often it does: estimates."""
    hits = np.stack([images.count_by_group(happens & among) for happens, among in parts], axis=1)
    totals = np.stack([images.count_by_group(among) for _, among in parts], axis=1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = divide(weights @ hits, weights @ totals)
        return {str(number): column for number, column in enumerate(found.T)}

    bases = {str(k): Basis.of_images(of_group) for k, of_group in enumerate(totals.T)}
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    return [found[name].to_dict() for name in bases]


def risk_coverage(
    is_wrong: NDArray[np.bool_], certainty: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Return the fraction of errors where only the most certain images are answered.

    Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks", NeurIPS.

    Parameters
    ----------
    is_wrong : bool (N,)
    certainty : float64 (N,)
        Such as the probability of the class that is called.

    Returns
    -------
    list of dict
        For each of `ANSWERED`: ``answered`` and ``error``, 0-1.

    Examples
    --------
    >>> wrong, certainty = np.array([True, False, False, False]), np.array([0.5, 0.6, 0.7, 0.8])
    >>> [row["error"] for row in risk_coverage(wrong, certainty)]
    [0.25, 0.25, 0.0, 0.0, 0.0]
    """
    order = np.argsort(-certainty, kind="stable")
    errors = np.cumsum(is_wrong[order])
    rows = []
    for fraction in ANSWERED:
        n_answered = max(1, round(fraction * len(order)))
        rows.append({"answered": fraction, "error": float(errors[n_answered - 1] / n_answered)})
    return rows
