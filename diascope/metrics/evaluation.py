"""From predictions to everything a report says about how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.caveats import caveats, guessing_caveats
from diascope.metrics.confusion import (
    REPORT_COLUMNS,
    decide,
    group_confusion,
)
from diascope.metrics.discrimination import (
    Ranking,
    fold_rankings,
    macro_rank_metrics,
)
from diascope.metrics.estimate import Estimate
from diascope.metrics.per_group import (
    distribution,
    group_rows,
    group_values,
)
from diascope.metrics.replicates import pooled_replicates, rank_replicates
from diascope.metrics.scored import ScoredImages, checked_labels, scored_images
from diascope.task import Task

HEADLINES = ("accuracy", "balanced_accuracy", "auroc", "average_precision")
TWO_CLASS_HEADLINES = ("sensitivity", "specificity", "ppv", "npv")
FOLD_METRICS = ("accuracy", "auroc", "average_precision")


def evaluate_predictions(  # noqa: PLR0913 - each is one plain value of the protocol
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike,
    *,
    folds: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    classes: Sequence[str],
    positive: str | None,
    group_kind: str,
    threshold: float = 0.5,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    part: str = "",
) -> dict[str, Any]:
    """Return the metrics of a set of predictions, each with an interval by resampling groups.

    Confusion counts, and all that follows from them, and the Brier score are pooled over the
    folds of a cross-validation; AUROC and average precision are computed in each fold and
    averaged, since scores of different models do not rank together.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    probabilities : float (N, K), 0-1
        One column a class; each row adds up to 1.
    groups : str (N,)
        The patient, lesion or slide of each image.
    folds : int (N,), optional
        The fold of each image in a cross-validation.
    predicted : int (N,), optional
        The classes that were called; by default the positive class at the threshold or above, or
        the most probable class.
    classes : sequence of str
        The K classes.
    positive : str or None
        With two classes, the one that sensitivity, PPV and AUROC refer to. Without one, rank
        metrics are macro averages of one class against the rest.
    group_kind : str
        What a group is, in the singular: ``"patient"``.
    threshold : float, 0-1
        With a positive class: it is predicted at this probability or above, where ``predicted``
        does not say otherwise.
    n_resamples, level, seed : int, float, int
        Bootstrap replicates, the coverage that the intervals aim at, and what fixes them.
    part : str
        The part of a data set that was judged, such as ``"test"``, for the warnings to name.

    Returns
    -------
    dict
        Ready for JSON: protocol, counts, ``estimates``, ``per_class``, ``macro``, ``weighted``,
        ``confusion``, ``per_group``, ``rows``, ``folds``, ``fold_sd``, ``warnings``. An estimate
        is `Estimate.to_dict`: what is undefined is None, with a note that says why.

    Raises
    ------
    DataError
        The arrays do not fit together, or hold impossible values.
    LeakageError
        A group has images in two folds.
    SettingsError
        The threshold, the level or the number of resamples is impossible.

    Examples
    --------
    >>> result = evaluate_predictions(
    ...     [0, 1, 0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8]] * 3, ["a", "a", "b", "b", "c", "c"],
    ...     classes=("uninfected", "parasitized"), positive="parasitized", group_kind="patient",
    ... )
    >>> result["estimates"]["sensitivity"]["value"], result["estimates"]["sensitivity"]["method"]
    (1.0, 'exact binomial (Clopper-Pearson) on 3 patients, since all agree')
    """
    _check_settings(threshold=threshold, n_resamples=n_resamples, level=level)
    task = Task(classes=tuple(classes), positive=positive)
    images = scored_images(labels, probabilities, groups=groups, folds=folds, task=task)
    resampling = Resampling(n_resamples, level, seed, group_kind)
    index = task.positive_index
    if predicted is None:
        predicted = decide(images.probabilities, positive_index=index, threshold=threshold)
    called = checked_labels(predicted, n_images=images.n_images, task=task)
    by_group = group_confusion(
        images.labels,
        called,
        group_of=images.group_of,
        n_groups=images.n_groups,
        n_classes=task.n_classes,
    )
    rankings = fold_rankings(
        images.labels,
        images.probabilities,
        group_of=images.group_of,
        fold_of=images.fold_of,
        positive_index=index,
    )
    of_group = _group_values(images, by_group, index)
    replicates = pooled_replicates(
        images, by_group, of_group, positive_index=index, resampling=resampling
    ) | rank_replicates(images, by_group, rankings, resampling=resampling)
    estimates = replicates.estimates(resampling)
    by_fold = _fold_rows(images, by_group, rankings)
    two_class = TWO_CLASS_HEADLINES if index is not None else ()
    return {
        "protocol": "holdout" if images.n_folds == 1 else "cross-validation",
        "classes": list(task.classes),
        "positive": positive,
        "group_kind": group_kind,
        "n_images": images.n_images,
        "n_groups": images.n_groups,
        "n_folds": images.n_folds,
        "threshold": None if index is None else float(threshold),
        "n_resamples": n_resamples,
        "level": level,
        "seed": seed,
        "estimates": {
            name: estimates[name].to_dict() for name in (*HEADLINES, *two_class, "mcc", "brier")
        },
        "per_class": _per_class(by_group, estimates, task.classes),
        "macro": {c: estimates[f"macro/{c}"].to_dict() for c in REPORT_COLUMNS},
        "weighted": {c: estimates[f"weighted/{c}"].to_dict() for c in REPORT_COLUMNS},
        "confusion": by_group.sum(axis=0).astype(int).tolist(),
        "per_group": _per_group(of_group, estimates),
        "rows": _rows(images, by_group, of_group, index),
        "folds": by_fold,
        "fold_sd": _fold_sd(by_fold),
        "warnings": [
            *guessing_caveats(estimates["auroc"]),
            *caveats(
                by_group,
                classes=task.classes,
                positive_index=index,
                group_kind=group_kind,
                ranked_folds=np.array([bool(of_fold) for of_fold in rankings]),
                part=part,
            ),
        ],
    }


def _check_settings(*, threshold: float, n_resamples: int, level: float) -> None:
    if not 0 <= threshold <= 1:
        raise SettingsError(f"A threshold is a probability, 0 to 1, not {threshold}.")
    if not 0.5 <= level < 1:
        raise SettingsError(
            f"An interval cannot aim at a coverage of {level}.", fix="Take 0.95, or 0.9 to 0.99."
        )
    if n_resamples < 100:
        raise SettingsError(
            f"{n_resamples} resamples are too few for an interval.", fix="Take 2,000."
        )


def _group_values(
    images: ScoredImages, by_group: NDArray[np.float64], positive_index: int | None
) -> dict[str, NDArray[np.float64]]:
    if positive_index is None:
        return {}
    return group_values(
        by_group,
        is_positive=images.labels == positive_index,
        scores=images.probabilities[:, positive_index],
        group_of=images.group_of,
        positive_index=positive_index,
    )


def _per_class(
    by_group: NDArray[np.float64], estimates: dict[str, Estimate], classes: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    images_by_class = by_group.sum(axis=2)
    return {
        name: {
            **{column: estimates[f"{column}/{k}"].to_dict() for column in REPORT_COLUMNS},
            "support": int(images_by_class[:, k].sum()),
            "n_groups": int(np.count_nonzero(images_by_class[:, k])),
        }
        for k, name in enumerate(classes)
    }


def _per_group(
    of_group: dict[str, NDArray[np.float64]], estimates: dict[str, Estimate]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"mean": estimates[f"group/{name}"].to_dict(), **distribution(values)}
        for name, values in of_group.items()
    }


def _rows(
    images: ScoredImages,
    by_group: NDArray[np.float64],
    of_group: dict[str, NDArray[np.float64]],
    positive_index: int | None,
) -> list[dict[str, Any]]:
    if positive_index is None:
        return []
    return group_rows(
        of_group, images.groups, images_by_class=by_group.sum(axis=2), positive_index=positive_index
    )


def _fold_rows(
    images: ScoredImages, by_group: NDArray[np.float64], rankings: list[tuple[Ranking, ...]]
) -> list[dict[str, Any]]:
    if images.n_folds == 1:
        return []
    rows = []
    ones = np.ones((1, images.n_groups))
    for k, (fold, of_fold) in enumerate(zip(images.folds.tolist(), rankings, strict=True)):
        inside = by_group[images.fold_of_group == k]
        n_images = inside.sum()
        auroc, average_precision = macro_rank_metrics(of_fold, ones)
        rows.append(
            {
                "fold": fold,
                "n_images": int(n_images),
                "n_groups": inside.shape[0],
                "accuracy": float(inside.trace(axis1=1, axis2=2).sum() / n_images),
                "auroc": _number(auroc[0]),
                "average_precision": _number(average_precision[0]),
            }
        )
    return rows


def _fold_sd(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the SD over the folds that have the metric; None where fewer than two do."""
    if not rows:
        return {}
    sd = {}
    for name in FOLD_METRICS:
        values = [row[name] for row in rows if row[name] is not None]
        sd[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return sd


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
