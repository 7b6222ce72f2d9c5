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


def judge_sets(
    images: ScoredImages, inside: NDArray[np.bool_], *, resampling: Resampling
) -> dict[str, Any]:
    """Return how often sets hold the true class, and how often they leave a question.

    Parameters
    ----------
    images : ScoredImages
    inside : bool (N, K)
        Which classes are in the set of each image.
    resampling : Resampling

    Returns
    -------
    dict
        ``coverage``, a list of estimates, one a class: the share of the images of the class whose
        set holds it. ``referred``: the share of all images whose set does not hold exactly one
        class. ``errors_kept``: the share of wrong sets among those of one class. ``mean_size``.
    """
    sizes = inside.sum(axis=1)
    is_held = inside[np.arange(images.n_images), images.labels]
    every = np.ones(images.n_images, dtype=bool)
    of_class = [images.labels == k for k in range(images.probabilities.shape[1])]
    shares = _shares(
        images,
        [*((is_held, mine) for mine in of_class), (sizes != 1, every), (~is_held, sizes == 1)],
        resampling,
    )
    return {
        "coverage": shares[:-2],
        "referred": shares[-2],
        "errors_kept": shares[-1],
        "mean_size": float(sizes.mean()),
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
