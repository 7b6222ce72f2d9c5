"""Results: every metric with its interval, the confusion matrix, classes and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diascope.reporting.figures.confusion import confusion_figure
from diascope.reporting.measures import measure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import plural

CLASS_COLUMNS = {
    "recall": "sensitivity (recall)",
    "specificity": "specificity",
    "precision": "PPV (precision)",
    "npv": "NPV",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
OF_FOLDS = ("accuracy", "auroc", "average_precision")


def section(facts: Facts) -> dict[str, Any]:
    """Return tables of metrics over all images, by class and by fold."""
    return {
        "methods": methods_text(facts),
        "confusion": _confusion_chart(facts),
        "class_columns": class_columns(facts.metrics["per_class"]),
        "class_rows": class_rows(facts.metrics, facts.classes),
        "rules": ("as in this report", "most probable class"),
        "rule_rows": _rule_rows(facts),
        "of_folds": OF_FOLDS,
        "repeats": _repeats(facts),
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
        f"Intervals of {metrics['level']:.0%} from {metrics['n_resamples']:,} resamples "
        f"{'(cluster bootstrap) of whole ' if facts.is_grouped else '(bootstrap) of '}{kinds} "
        f"(seed {metrics['seed']}). The counts of images{f' and {kinds}' * facts.is_grouped} are "
        f"of those that each metric is based on.{pooled}"
    )


def class_columns(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return which figures of each class are shown, and their names."""
    rows = per_class.values()
    return {key: name for key, name in CLASS_COLUMNS.items() if all(key in row for row in rows)}


def class_rows(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the figures of each class against the rest, then the macro and weighted means."""
    rows: list[dict[str, Any]] = [
        {"name": name, "is_mean": False, **metrics["per_class"][name]} for name in classes
    ]
    for key, name in (("macro", "macro average"), ("weighted", "weighted average")):
        if metrics.get(key):
            rows.append({"name": name, "is_mean": True, **metrics[key]})
    return rows


def _repeats(facts: Facts) -> dict[str, Any] | None:
    """Return how the metrics vary over trainings that differ in their seed alone."""
    if not facts.repeats:
        return None
    others = [run.metrics(facts.split)["estimates"] for run in facts.repeats]
    every = [facts.metrics["estimates"], *others]
    rows = []
    for key in facts.metrics["estimates"]:
        values = [one[key]["value"] for one in every if one[key]["value"] is not None]
        if len(values) == len(every):
            rows.append(
                {
                    "name": measure(key, has_positive=facts.has_positive)[0],
                    "this": values[0],
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values, ddof=1)),
                    "least": min(values),
                    "greatest": max(values),
                }
            )
    seeds = [facts.run.plan.seed, *(run.plan.seed for run in facts.repeats)]
    return {"seeds": seeds, "rows": rows}


def _rule_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return each figure by the decision rule and by the most probable class; none if alike."""
    metrics, other = facts.metrics, facts.metrics["most_probable"]
    if not other["n_changed"]:
        return []
    rows = [
        {
            "name": measure(key, has_positive=facts.has_positive)[0],
            "estimates": [metrics["estimates"][key], then],
        }
        for key, then in other["estimates"].items()
    ]
    for name, then in zip(facts.classes, other["recall"], strict=True):
        both = [metrics["per_class"][name]["recall"], then]
        rows.append({"name": f"sensitivity, {name}", "estimates": both})
    return rows


def _confusion_chart(facts: Facts) -> Chart:
    return confusion_chart(facts.metrics["confusion"], facts.classes, decision_rule(facts))


def confusion_chart(confusion: Sequence[Sequence[int]], classes: Sequence[str], rule: str) -> Chart:
    """Return the confusion matrix of counts, rows true, columns predicted."""
    counts = np.asarray(confusion, dtype=np.int64)
    rows = [
        f"true {name}: "
        + ", ".join(
            f"{count:,} predicted as {other}"
            for other, count in zip(classes, row, strict=True)
            if count
        )
        for name, row in zip(classes, counts.tolist(), strict=True)
    ]
    return chart_of(
        confusion_figure(counts, classes),
        alt=f"Confusion matrix. {'; '.join(rows)}.",
        caption=f"Counts, and percentages of each true class; {rule}.",
    )


def decision_rule(facts: Facts) -> str:
    """Say how an image is called, as the end of a sentence."""
    if facts.has_positive:
        of_folds = " (the mean of the folds)" if facts.run.is_cross_validation else ""
        threshold = f"{facts.metrics['threshold']:.4g}"
        return (
            f"an image is predicted as {facts.positive} at a probability of {threshold}{of_folds} "
            "or more"
        )
    if facts.run.plan.decision == "balanced":
        return (
            "each image is assigned to the class whose probability, divided by its proportion in "
            "training, is largest"
        )
    return "each image is assigned to its most probable class"
