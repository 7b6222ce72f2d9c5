"""Judge operating points: each on the images of an exam, and what others would give on val."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.predictions import Predictions
from diascope.data.exam import Exam
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.scored import ScoredImages
from diascope.metrics.thresholds import rates_at, threshold_table


def judge_points(
    exam: Exam, predictions: Predictions, points: Sequence[NamedPoint], val: ScoredImages | None
) -> dict[str, Any]:
    """Return what the operating points give on an exam, and thresholds on validation images.

    Parameters
    ----------
    predictions : Predictions
        Of the images that are judged, which took no part in choosing a point.
    val : ScoredImages, optional
        The validation images that points are chosen on.

    Returns
    -------
    dict
        ``points``, a row each: ``name, threshold, target`` (null without a guarantee) and
        ``estimates``, the rates on the images judged. ``thresholds``, null without ``val``:
        ``n_images, n_groups, group_kind`` and ``rows``, see `threshold_table`.
    """
    resampling = Resampling(seed=exam.seed)
    found: dict[str, Any] = {"points": [], "thresholds": None}
    if exam.task.positive is None:
        return found
    kind = exam.dataset.group_kind
    images = ScoredImages.of(predictions, exam.task, group_kind=kind, has_folds=exam.has_folds)
    if points:
        rates = rates_at(images, [point.threshold for point in points], resampling)
        found["points"] = [
            {**point.as_dict(), "estimates": of_point}
            for point, of_point in zip(points, rates, strict=True)
        ]
    if val is not None:
        found["thresholds"] = {
            "n_images": val.n_images,
            "n_groups": val.n_groups,
            "group_kind": val.group_kind,
            "rows": threshold_table(val, [point.threshold for point in points], resampling),
        }
    return found
