"""What happens where the network may say "I do not know": sets, referrals, risk and coverage."""

from __future__ import annotations

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
    parts = {
        f"coverage {k}": (is_held, images.labels == k) for k in range(images.probabilities.shape[1])
    }
    parts["referred"] = (sizes != 1, np.ones(images.n_images, dtype=bool))
    parts["errors_kept"] = (~is_held, sizes == 1)
    found = {name: _share(images, *one, resampling) for name, one in parts.items()}
    return {
        "coverage": [value for name, value in found.items() if name.startswith("coverage")],
        "referred": found["referred"],
        "errors_kept": found["errors_kept"],
        "mean_size": float(sizes.mean()),
    }


def _share(
    images: ScoredImages,
    happens: NDArray[np.bool_],
    among: NDArray[np.bool_],
    resampling: Resampling,
) -> dict[str, Any]:
    """Return how often something happens among some images, as an estimate."""
    total = np.bincount(images.group_of, among, minlength=images.n_groups).astype(float)
    hits = np.bincount(images.group_of, among & happens, minlength=images.n_groups).astype(float)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"share": divide(weights @ hits, weights @ total)}

    replicates = replicate(
        statistic,
        np.zeros(images.n_groups, dtype=np.intp),
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )
    n_groups = int(np.count_nonzero(total))
    basis = Basis(
        n_images=int(total.sum()),
        n_groups=n_groups,
        n_independent=n_groups,
        n_effective=effective_number(total) if n_groups else 0.0,
        undefined="no such image",
    )
    value = statistic(np.ones((1, images.n_groups)))["share"][0]
    return estimate(value, replicates["share"], basis=basis, resampling=resampling).to_dict()


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
