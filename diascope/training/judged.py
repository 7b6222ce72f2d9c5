"""Whether metrics are what follows from predictions: the figures of a report are never believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diascope.bundle.predictions import Predictions
from diascope.errors import DataError, RunError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

METRICS_FORMAT = 2  # raised when a report needs figures that older metrics lack
PREDICTIONS_SHA256 = "predictions_sha256"  # in metrics: the digest of the predictions
FEW = Resampling(100)  # the values do not depend on it, only the intervals
EXACT = ("protocol", "n_images", "n_groups", "classes", "positive", "confusion")
TOLERANCE = 1e-9  # sums may be in another order on another machine
FIX = (
    "Restore the run from a copy, or remove the metrics and the predictions of this split and run "
    "`diascope evaluate` again."
)


def check_judged(
    metrics: Mapping[str, Any],
    sha256: str,
    predictions: Predictions,
    *,
    task: Task,
    has_folds: bool,
    where: Path,
) -> None:
    """Check that metrics are of these predictions: their digest, their counts and all values.

    Parameters
    ----------
    sha256 : str
        The digest of the predictions as they are stored.
    predictions : Predictions
        Those that were judged.
    has_folds : bool
        Whether images of different folds were scored by different networks.
    where : Path
        The file of the metrics.

    Raises
    ------
    RunError
        They are not.
    """
    if metrics.get("metrics_format") != METRICS_FORMAT:
        raise RunError(
            "The metrics were written by another version of diascope, and reports need others now.",
            where=where,
            fix="Remove this file and run `diascope evaluate` again; test images are then opened "
            "once more, and the test-set access log counts it.",
        )
    if metrics.get(PREDICTIONS_SHA256) != sha256:
        raise RunError("The metrics are of other predictions.", where=where, fix=FIX)
    try:
        images = ScoredImages.of(
            predictions, task, group_kind=str(metrics.get("group_kind")), has_folds=has_folds
        )
    except DataError as error:
        raise RunError(
            f"The predictions do not fit the run: {error.problem}", where=where, fix=FIX
        ) from error
    found = evaluate_predictions(images, FEW)
    wrong = [name for name in EXACT if metrics.get(name) != found.get(name)]
    stored = dict(_values(metrics))
    wrong += [name for name, value in _values(found) if not _is_same(stored.get(name), value)]
    if wrong:
        raise RunError(
            f"The metrics do not follow from the predictions: {wrong[0]} is another.",
            where=where,
            fix=FIX,
        )


def _values(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of every estimate of the whole, and of every class."""
    parts: dict[str, Any] = {
        name: metrics.get(name) or {} for name in ("estimates", "macro", "weighted")
    }
    parts |= {f"per_class {name}": one for name, one in (metrics.get("per_class") or {}).items()}
    for part, estimates in parts.items():
        for name, one in estimates.items():
            if isinstance(one, Mapping):
                yield f"{part} {name}", one.get("value")


def _is_same(stored: Any, value: float | None) -> bool:
    if value is None or not isinstance(stored, int | float):
        return stored is value
    return math.isclose(stored, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
