"""What a positive or a negative answer is worth where the condition is rarer or more frequent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling, class_limits, estimate, replicate
from diascope.metrics.confusion import divide

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)


def predictive_values(
    by_group: NDArray[np.float64], *, positive_index: int, resampling: Resampling
) -> list[dict[str, Any]]:
    """Return PPV and NPV at several prevalences, by Bayes' rule, with intervals by group.

    They suppose that sensitivity and specificity are the same there, which a change of the patients
    may well undo.

    Parameters
    ----------
    by_group : float64 (G, 2, 2)
        Images of each group by true and called class.
    positive_index : int
    resampling : Resampling

    Returns
    -------
    list of dict
        For each of `PREVALENCES`: ``prevalence``, ``ppv`` and ``npv``, estimates.
    """
    p, n = positive_index, 1 - positive_index
    flat = by_group.reshape(len(by_group), -1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = (weights @ flat).reshape(-1, 2, 2)
        sensitivity = divide(confusion[:, p, p], confusion[:, p].sum(axis=1))
        specificity = divide(confusion[:, n, n], confusion[:, n].sum(axis=1))
        found = {}
        for prevalence in PREVALENCES:
            found_ill, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            missed, cleared = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
            found[f"ppv {prevalence}"] = divide(found_ill, found_ill + false_alarms)
            found[f"npv {prevalence}"] = divide(cleared, cleared + missed)
        return found

    images_by_class = by_group.sum(axis=2)
    n_independent, n_effective = class_limits(images_by_class)
    basis = Basis(
        n_images=int(images_by_class.sum()),
        n_groups=int(images_by_class.any(axis=1).sum()),
        n_independent=n_independent,
        n_effective=n_effective,
        undefined="one class only, or none called",
        is_mean_of_fractions=False,
    )
    points = statistic(np.ones((1, len(by_group))))
    replicates = replicate(
        statistic,
        np.zeros(len(by_group), dtype=np.intp),
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )

    def judged(name: str) -> dict[str, Any]:
        one = estimate(points[name][0], replicates[name], basis=basis, resampling=resampling)
        return one.to_dict()

    return [
        {"prevalence": at, "ppv": judged(f"ppv {at}"), "npv": judged(f"npv {at}")}
        for at in PREVALENCES
    ]
