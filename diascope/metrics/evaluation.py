"""From scored images to everything a report says about how good the predictions are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.caveats import caveats, guessing_caveats
from diascope.metrics.confusion import REPORT_COLUMNS
from diascope.metrics.discrimination import RANK_METRICS, Ranking, macro_rank_metrics
from diascope.metrics.estimate import Estimate
from diascope.metrics.per_group import (
    distribution,
    group_rows,
    group_values,
    mean_replicates_of_groups,
)
from diascope.metrics.replicates import (
    estimates_of,
    pooled_replicates,
    rank_replicates,
    rankings_of,
)
from diascope.metrics.scored import ScoredImages

HEADLINES = ("accuracy", "balanced_accuracy", "auroc", "average_precision")
TWO_CLASS_HEADLINES = ("sensitivity", "specificity", "ppv", "npv")
OF_DECISIONS = ("accuracy", "balanced_accuracy")
AGAINST_THE_REST = ("specificity", "npv")
FOLD_METRICS = ("accuracy", "auroc", "average_precision")


def evaluate_predictions(
    images: ScoredImages,
    resampling: Resampling,
    *,
    part: str = "",
    is_external: bool = False,
    titles: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Return the metrics of a model's predictions, each with an interval by resampling groups.

    Confusion counts, and all that follows from them, and the Brier score are pooled over the
    folds of a cross-validation; AUROC and average precision are computed in each fold and
    averaged, since scores of different models do not rank together. Without a positive class, rank
    metrics are macro averages of one class against the rest.

    Parameters
    ----------
    part : str
        The part of a data set that was judged, such as ``"test"``, for the warnings to name.
    is_external : bool
        Whether the images are of a data set that the network was not trained on.
    titles : tuple of str, optional
        What the warnings call the classes; their names by default.

    Returns
    -------
    dict
        Ready for JSON: protocol, counts, ``estimates``, ``most_probable`` (see
        `_most_probable`), ``per_class``, ``macro``, ``weighted``, ``confusion``, ``per_group``,
        ``rows``, ``folds``, ``fold_sd``, ``warnings``. An estimate is `Estimate.to_dict`: what is
        undefined is None, with a note that says why.

    Examples
    --------
    >>> from diascope.task import Task
    >>> images = ScoredImages.from_arrays(
    ...     [0, 1, 0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8]] * 3, [0, 1] * 3,
    ...     ["a", "a", "b", "b", "c", "c"],
    ...     task=Task(("uninfected", "parasitized"), "parasitized"), group_kind="patient",
    ... )
    >>> found = evaluate_predictions(images, Resampling())["estimates"]["sensitivity"]
    >>> found["value"], found["method"]
    (1.0, 'exact binomial (Clopper-Pearson) on 3 patients, since all agree')
    """
    by_group, index = images.confusion_by_group, images.positive_index
    rankings = rankings_of(images)
    of_group = group_values(images)
    estimates = estimates_of(
        pooled_replicates(images, resampling) | rank_replicates(images, rankings, resampling)
    )
    of_groups = estimates_of(mean_replicates_of_groups(images, of_group, resampling))
    by_fold = _fold_rows(images, rankings)
    two_class = TWO_CLASS_HEADLINES if index is not None else ()
    return {
        "protocol": "holdout" if images.n_folds == 1 else "cross-validation",
        **images.facts(),
        **asdict(resampling),
        "estimates": {
            name: estimates[name].to_dict()
            for name in (*HEADLINES, *two_class, "mcc", "kappa", "brier")
        },
        "most_probable": _most_probable(images, resampling),
        "per_class": _per_class(by_group, estimates, images.task.classes),
        "macro": {c: estimates[f"macro/{c}"].to_dict() for c in REPORT_COLUMNS},
        "weighted": {c: estimates[f"weighted/{c}"].to_dict() for c in REPORT_COLUMNS},
        "confusion": by_group.sum(axis=0).astype(int).tolist(),
        "per_group": {
            name: {"mean": of_groups[name].to_dict(), **distribution(values)}
            for name, values in of_group.items()
        },
        "rows": group_rows(images, of_group),
        "folds": by_fold,
        "fold_sd": _fold_sd(by_fold),
        "warnings": [
            *guessing_caveats(estimates["auroc"]),
            *caveats(
                images,
                ranked_folds=[bool(of_fold) for of_fold in rankings],
                part=part,
                is_external=is_external,
                titles=titles,
            ),
        ],
    }


def _most_probable(images: ScoredImages, resampling: Resampling) -> dict[str, Any]:
    """Return what the most probable class would have given, instead of the decision rule.

    Returns
    -------
    dict
        ``n_changed``, the images that would be called otherwise; ``estimates`` of `OF_DECISIONS`;
        ``recall``, an estimate a class.
    """
    called = images.probabilities.argmax(axis=1)
    replicates = pooled_replicates(images.with_answers(images.probabilities, called), resampling)
    found = estimates_of(replicates)
    return {
        "n_changed": int(np.count_nonzero(called != images.predicted)),
        "estimates": {name: found[name].to_dict() for name in OF_DECISIONS},
        "recall": [found[f"recall/{k}"].to_dict() for k in range(images.task.n_classes)],
    }


def _per_class(
    by_group: NDArray[np.float64], estimates: dict[str, Estimate], classes: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    images_by_class = by_group.sum(axis=2)
    return {
        name: {
            **{
                column: estimates[f"{column}/{k}"].to_dict()
                for column in (*REPORT_COLUMNS, *AGAINST_THE_REST, *RANK_METRICS)
                if f"{column}/{k}" in estimates
            },
            "support": int(images_by_class[:, k].sum()),
            "n_groups": int(np.count_nonzero(images_by_class[:, k])),
        }
        for k, name in enumerate(classes)
    }


def _fold_rows(images: ScoredImages, rankings: list[tuple[Ranking, ...]]) -> list[dict[str, Any]]:
    if images.n_folds == 1:
        return []
    rows = []
    ones = np.ones((1, images.n_groups))
    for k, (fold, of_fold) in enumerate(zip(images.folds.tolist(), rankings, strict=True)):
        inside = images.confusion_by_group[images.fold_of_group == k]
        n_images = inside.sum()
        auroc, precision = macro_rank_metrics(of_fold, ones)
        rows.append(
            {
                "fold": fold,
                "n_images": int(n_images),
                "n_groups": inside.shape[0],
                "accuracy": float(inside.trace(axis1=1, axis2=2).sum() / n_images),
                "auroc": None if np.isnan(auroc[0]) else float(auroc[0]),
                "average_precision": None if np.isnan(precision[0]) else float(precision[0]),
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
