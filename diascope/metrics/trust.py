"""How far single answers can be trusted: calibration, sets, referral, and other prevalences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.confusion import group_confusion
from diascope.metrics.net_benefit import decision_curve
from diascope.metrics.prevalence import predictive_values
from diascope.metrics.referral import judge_sets, risk_coverage
from diascope.metrics.reliability import reliability
from diascope.metrics.scored import checked_labels, scored_images
from diascope.task import Task


def evaluate_trust(  # noqa: PLR0913 - each is one plain value of the protocol
    labels: ArrayLike,
    probabilities: NDArray[np.float64],
    groups: ArrayLike,
    *,
    before: NDArray[np.float64],
    predicted: ArrayLike,
    inside: NDArray[np.bool_] | None,
    classes: Sequence[str],
    positive: str | None,
    group_kind: str,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what `evaluate_predictions` does not: how far single answers can be trusted.

    Parameters
    ----------
    labels, groups, classes, positive, group_kind, n_resamples, level, seed
        See `diascope.metrics.evaluation.evaluate_predictions`.
    probabilities, before : float64 (N, K), 0-1
        After and before calibration.
    predicted : int (N,)
        The classes that were called.
    inside : bool (N, K), optional
        Which classes are in the prediction set of each image.

    Returns
    -------
    dict
        ``calibration``, see `reliability`; ``prediction_sets``, see `judge_sets`, or None;
        ``risk_coverage``; ``predictive_values`` and ``decision_curve``, empty without a positive
        class.
    """
    task = Task(classes=tuple(classes), positive=positive)
    images = scored_images(labels, probabilities, groups=groups, folds=None, task=task)
    called = checked_labels(predicted, n_images=images.n_images, task=task)
    resampling = Resampling(n_resamples, level, seed, group_kind)
    by_group = group_confusion(
        images.labels,
        called,
        group_of=images.group_of,
        n_groups=images.n_groups,
        n_classes=task.n_classes,
    )
    index = task.positive_index
    sets = None if inside is None else judge_sets(images, inside, called, resampling=resampling)
    certainty = probabilities[np.arange(images.n_images), called]
    return {
        "calibration": reliability(images, before, positive_index=index, resampling=resampling),
        "prediction_sets": sets,
        "risk_coverage": risk_coverage(called != images.labels, certainty),
        "predictive_values": []
        if index is None
        else predictive_values(by_group, positive_index=index, resampling=resampling),
        "decision_curve": []
        if index is None
        else decision_curve(images, positive_index=index, resampling=resampling),
    }
