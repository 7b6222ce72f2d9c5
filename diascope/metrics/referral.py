"""What happens where the network may say "I do not know": sets, referrals, risk and coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling, effective_number, estimate, replicate
from diascope.metrics.confusion import divide
from diascope.metrics.scored import ScoredImages

SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)
RULE = "referred unless the set holds the class that is called, and no other"
NO_CLASS = "no class is likely enough"
SEVERAL_CLASSES = "several classes are possible"
ANOTHER_CLASS = "the set holds another class than the one that is called"


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
    images: ScoredImages,
    inside: NDArray[np.bool_],
    called: NDArray[np.integer],
    *,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return how often sets hold the true class, and how often an image is referred.

    Parameters
    ----------
    images : ScoredImages
    inside : bool (N, K)
        Which classes are in the set of each image.
    called : int (N,)
    resampling : Resampling

    Returns
    -------
    dict
        ``coverage``, a list of estimates, one a class: the share of the images of the class whose
        set holds it. ``referred``: the share of all images that are referred, by `RULE`, which is
        given as ``rule``. ``errors_kept``: the share of wrong answers among the others.
        ``mean_size`` of the sets.
    """
    is_referred = reasons_to_refer(inside, called) != ""
    is_wrong = called != images.labels
    is_held = inside[np.arange(images.n_images), images.labels]
    every = np.ones(images.n_images, dtype=bool)
    of_class = [images.labels == k for k in range(images.probabilities.shape[1])]
    shares = _shares(
        images,
        [*((is_held, mine) for mine in of_class), (is_referred, every), (is_wrong, ~is_referred)],
        resampling,
    )
    return {
        "rule": RULE,
        "coverage": shares[:-2],
        "referred": shares[-2],
        "errors_kept": shares[-1],
        "mean_size": float(inside.sum(axis=1).mean()),
    }


def _shares(
    images: ScoredImages,
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return, for each (what happens, among which images), how often it does: estimates."""

    def counts(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(images.group_of, chosen, minlength=images.n_groups).astype(np.float64)

    hits = np.stack([counts(happens & among) for happens, among in parts], axis=1)
    totals = np.stack([counts(among) for _, among in parts], axis=1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = divide(weights @ hits, weights @ totals)
        return {str(number): column for number, column in enumerate(found.T)}

    points = statistic(np.ones((1, images.n_groups)))
    replicates = replicate(
        statistic,
        np.zeros(images.n_groups, dtype=np.intp),
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )
    found = []
    for name, of_group in zip(points, totals.T, strict=True):
        n_groups = int(np.count_nonzero(of_group))
        basis = Basis(
            n_images=int(of_group.sum()),
            n_groups=n_groups,
            n_independent=n_groups,
            n_effective=effective_number(of_group) if n_groups else 0.0,
            undefined="no such image",
        )
        one = estimate(points[name][0], replicates[name], basis=basis, resampling=resampling)
        found.append(one.to_dict())
    return found


def risk_coverage(
    is_wrong: NDArray[np.bool_], certainty: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Return the share of errors where only the most certain images are answered.

    Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks", NeurIPS.

    Parameters
    ----------
    is_wrong : bool (N,)
    certainty : float64 (N,)
        Such as the probability of the class that is called.

    Returns
    -------
    list of dict
        For each of `SHARES`: ``answered`` and ``error``, 0-1.

    Examples
    --------
    >>> wrong, certainty = np.array([True, False, False, False]), np.array([0.5, 0.6, 0.7, 0.8])
    >>> [row["error"] for row in risk_coverage(wrong, certainty)]
    [0.25, 0.25, 0.0, 0.0, 0.0]
    """
    order = np.argsort(-certainty, kind="stable")
    errors = np.cumsum(is_wrong[order])
    rows = []
    for share in SHARES:
        n_answered = max(1, round(share * len(order)))
        rows.append({"answered": share, "error": float(errors[n_answered - 1] / n_answered)})
    return rows
