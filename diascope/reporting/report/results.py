"""Results: every metric with its interval, the confusion matrix, classes and folds."""

from __future__ import annotations

from typing import Any

import numpy as np

from diascope.reporting.figures.confusion import confusion_figure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import plural

OF_FOLDS = ("accuracy", "auroc", "average_precision")


def section(facts: Facts) -> dict[str, Any]:
    """Return tables of metrics over all images, by class and by fold."""
    return {
        "methods": methods_text(facts),
        "confusion": _confusion_chart(facts),
        "class_rows": class_rows(facts),
        "of_folds": OF_FOLDS,
    }


def methods_text(facts: Facts) -> str:
    """Say how the intervals were made."""
    metrics, kinds = facts.metrics, plural(facts.group_kind)
    pooled = (
        " Counts are pooled over the folds; AUROC and average precision are means of the folds."
        if facts.run.is_cross_validation
        else ""
    )
    return (
        f"Intervals of {metrics['level']:.0%} from {metrics['n_resamples']:,} bootstrap resamples "
        f"of {'whole ' * facts.is_grouped}{kinds} (seed {metrics['seed']}). The counts of images"
        f"{f' and {kinds}' * facts.is_grouped} are of those that each metric is based on.{pooled}"
    )


def class_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return precision, recall and F1: a row a class, then the macro and weighted means."""
    metrics = facts.metrics
    rows: list[dict[str, Any]] = [
        {"name": name, "is_mean": False, **metrics["per_class"][name]} for name in facts.classes
    ]
    for key, name in (("macro", "macro average"), ("weighted", "weighted average")):
        if metrics.get(key):
            rows.append({"name": name, "is_mean": True, **metrics[key]})
    return rows


def _confusion_chart(facts: Facts) -> Chart:
    counts = np.asarray(facts.metrics["confusion"], dtype=np.int64)
    rows = [
        f"true {name}: "
        + ", ".join(
            f"{count:,} called {other}"
            for other, count in zip(facts.classes, row, strict=True)
            if count
        )
        for name, row in zip(facts.classes, counts.tolist(), strict=True)
    ]
    return chart_of(
        confusion_figure(counts, facts.classes),
        alt=f"Confusion matrix. {'; '.join(rows)}.",
        caption=f"Counts, and percentages of each true class; {_decision_rule(facts)}.",
    )


def _decision_rule(facts: Facts) -> str:
    if facts.has_positive:
        of_folds = " (the mean of the folds)" if facts.run.is_cross_validation else ""
        threshold = f"{facts.metrics['threshold']:.4g}"
        return f"called {facts.positive} at a probability of {threshold}{of_folds} or more"
    if facts.run.plan.decision == "balanced":
        return (
            "each image is assigned to the class whose probability, divided by its proportion in "
            "training, is largest"
        )
    return "each image is assigned to its most probable class"
