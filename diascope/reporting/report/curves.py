"""Curves: ROC, precision-recall, rates against the threshold, and distributions of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.curves import Curves, curves
from diascope.reporting.figures.curves import (
    OperatingPoint,
    precision_recall_figure,
    rates_figure,
    roc_figure,
)
from diascope.reporting.figures.distribution import score_histogram
from diascope.reporting.figures.style import HALF_PAGE, SOFT_INK, THIRD_OF_PAGE
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of


def section(facts: Facts) -> dict[str, Any]:
    """Return the charts; those of thresholds and scores are one per class that is scored."""
    return {
        "curves": _curve_charts(facts),
        "thresholds": _threshold_charts(facts),
        "histograms": _histogram_charts(facts),
    }


def _curve_charts(facts: Facts) -> list[Chart]:
    """Draw the ROC and the precision-recall curve, one line per class without a positive one."""
    colours = facts.colours
    ranked = {name: _by_fold(facts, name) for name in _scored_classes(facts)}
    which = facts.positive or "every class against the rest"
    by_fold = " Thin lines are folds." if facts.run.is_cross_validation else ""
    prevalence = None if facts.positive is None else float(_ranking(facts, which)[0].mean())
    chance = (
        "each class's own prevalence"
        if prevalence is None
        else f"the prevalence, {prevalence:.3f} (dotted)"
    )
    roc = roc_figure(ranked, colours=colours, operating_point=_operating_point(facts))
    precision_recall = precision_recall_figure(ranked, colours=colours, prevalence=prevalence)
    return [
        chart_of(
            roc,
            alt=f"ROC curve, {which}. AUROC {_value(facts, 'auroc')}.",
            caption=f"ROC, {which}; chance lies on the dotted line.{by_fold}",
        ),
        chart_of(
            precision_recall,
            alt=f"Precision-recall curve, {which}. Average precision "
            f"{_value(facts, 'average_precision')}.",
            caption=f"Precision and recall, {which}; chance is {chance}.{by_fold}",
        ),
    ]


def _threshold_charts(facts: Facts) -> list[Chart]:
    """Draw true and false positive rate against the threshold; one chart per class."""
    colours = facts.colours
    point = _operating_point(facts)
    charts = []
    for name in _scored_classes(facts):
        is_positive, scores = _ranking(facts, name)
        if is_positive.all() or not is_positive.any():
            continue
        figure = rates_figure(
            curves(is_positive, scores),
            positive_colour=colours[name],
            negative_colour=SOFT_INK if facts.negative is None else colours[facts.negative],
            operating_point=point,
            size_inches=_size_inches(facts),
        )
        marked = (
            ""
            if point is None
            else f" The operating threshold is {point.threshold:.4g} (dashed): true positive rate "
            f"{point.tpr:.3f}, false positive rate {point.fpr:.3f}."
        )
        alt = f"True and false positive rate of {name} against the threshold.{marked}"
        caption = f"Rates against the threshold on the probability of {name}.{marked}"
        charts.append(chart_of(figure, alt=alt, caption=caption))
    return charts


def _histogram_charts(facts: Facts) -> list[Chart]:
    """Draw the scores by true class on log counts; one chart per class."""
    colours: dict[str, str] = {**facts.colours, "the rest": SOFT_INK}
    charts = []
    for name in _scored_classes(facts):
        is_positive, scores = _ranking(facts, name)
        by_class = {
            facts.negative or "the rest": scores[~is_positive],
            name: scores[is_positive],
        }
        figure = score_histogram(
            by_class,
            colours=colours,
            score_name=f"probability of {name}",
            threshold=facts.metrics["threshold"],
            size_inches=_size_inches(facts),
        )
        medians = ", ".join(f"{n} {np.median(v):.3f}" for n, v in by_class.items() if len(v))
        alt = f"Histogram of the probability of {name}, log counts. Medians: {medians}."
        caption = f"Probability of {name} by true class; counts on a log scale."
        charts.append(chart_of(figure, alt=alt, caption=caption))
    return charts


def _size_inches(facts: Facts) -> tuple[float, float]:
    return THIRD_OF_PAGE if facts.positive is None else HALF_PAGE


def _scored_classes(facts: Facts) -> Sequence[str]:
    return facts.classes if facts.positive is None else [facts.positive]


def _ranking(facts: Facts, name: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    index = facts.classes.index(name)
    return facts.predictions.labels == index, facts.predictions.probabilities[:, index]


def _by_fold(facts: Facts, name: str) -> list[Curves]:
    is_positive, scores = _ranking(facts, name)
    parts = [facts.predictions.folds == fold for fold in np.unique(facts.predictions.folds)]
    return [
        curves(is_positive[part], scores[part])
        for part in parts
        if is_positive[part].any() and not is_positive[part].all()
    ]


def _operating_point(facts: Facts) -> OperatingPoint | None:
    threshold = facts.metrics["threshold"]
    estimates: Mapping[str, Any] = facts.metrics["estimates"]
    if threshold is None:
        return None
    sensitivity, specificity = (estimates[k]["value"] for k in ("sensitivity", "specificity"))
    if sensitivity is None or specificity is None:
        return None
    return OperatingPoint(threshold, tpr=sensitivity, fpr=1 - specificity)


def _value(facts: Facts, key: str) -> str:
    value = facts.metrics["estimates"][key]["value"]
    return "not estimable" if value is None else f"{value:.3f}"
