"""Draw the figures of a report from its facts: each a data URI, an alternative text, a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from diascope.figures.confusion import confusion_figure
from diascope.figures.curves import (
    OperatingPoint,
    precision_recall_figure,
    rates_figure,
    roc_figure,
)
from diascope.figures.groups import strip_figure
from diascope.figures.histogram import score_histogram
from diascope.figures.style import (
    HALF_PAGE,
    SOFT_INK,
    THIRD_OF_PAGE,
    class_colours,
    figure_to_svg,
)
from diascope.figures.training import training_figure
from diascope.metrics.curves import Curves, curves
from diascope.plan import Plan
from diascope.reporting.facts import Facts

TRAINING = (
    ("loss", {"train_loss": "training", "val_loss": "validation"}),
    ("validation score", {"val_auroc": "AUROC", "val_accuracy": "accuracy"}),
    ("learning rate", {"learning_rate": "learning rate"}),
)
TERMS = {
    "class_weights": "class weights",
    "balanced_sampling": "balanced sampling",
    "logit_adjustment": "logit adjustment",
}


class Chart(TypedDict):
    """A figure as the template wants it."""

    uri: str
    alt: str
    caption: str


def training_charts(facts: Facts) -> list[Chart]:
    """Draw loss, validation figures and learning rate against the epoch; none without a log."""
    charts: list[Chart] = []
    for title, wanted in TRAINING:
        series = {
            key: name
            for key, name in wanted.items()
            if any(event.get(key) is not None for event in facts.epochs)
        }
        if series:
            figure = training_figure(facts.epochs, series=series, y_label=title)
            charts.append(
                {
                    "uri": figure_to_svg(figure),
                    "alt": f"Line chart: {title} against the epoch. {_ends(facts, series)}",
                    "caption": f"{title[0].upper()}{title[1:]}, epoch by epoch."
                    + (_about_losses(facts.plan) if len(series) > 1 and title == "loss" else ""),
                }
            )
    return charts


def _about_losses(plan: Plan) -> str:
    """Say why the validation loss may lie well below the training loss."""
    harder = {
        "label smoothing": plan.label_smoothing > 0,
        "augmented images": not plan.is_unchanging,
        "dropout": bool(plan.dropout),
        TERMS.get(plan.imbalance, ""): plan.imbalance in TERMS,
    }
    names = [name for name, is_used in harder.items() if is_used]
    without = " without these" if names else ""
    with_these = f" with {', '.join(names)} and" if names else ""
    return (
        f" The training loss is taken{with_these} while the epoch goes on, the validation loss"
        f"{without} at its end: the second may lie well below the first, and the two are not on "
        "one scale."
    )


def _ends(facts: Facts, series: dict[str, str]) -> str:
    n_epochs = max(event["epoch"] for event in facts.epochs)
    ends = []
    for key, name in series.items():
        last = [
            event[key]
            for event in facts.epochs
            if event["epoch"] == n_epochs and event.get(key) is not None
        ]
        if last:
            ends.append(f"{name} {np.mean(last):.4g}")
    return f"At epoch {n_epochs}: {', '.join(ends)}."


def confusion_chart(facts: Facts) -> Chart:
    """Draw the confusion matrix."""
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
    return {
        "uri": figure_to_svg(confusion_figure(counts, facts.classes)),
        "alt": "Confusion matrix. " + "; ".join(rows) + ".",
        "caption": f"Counts, and the share of each true class; {_decision_rule(facts)}.",
    }


def _decision_rule(facts: Facts) -> str:
    """Say which class an image was called."""
    if facts.positive is not None:
        of_folds = " (the mean of the folds)" if facts.is_cross_validation else ""
        threshold = f"{facts.metrics['threshold']:.4g}"
        return f"called {facts.positive} at a probability of {threshold}{of_folds} or more"
    if facts.plan.decision == "balanced":
        return (
            "each image goes to the class whose probability, divided by its share in training, is "
            "largest"
        )
    return "each image goes to its most probable class"


def group_chart(facts: Facts) -> Chart | None:
    """Draw sensitivity and specificity of every group; none without a positive class."""
    if facts.positive is None or facts.negative is None:
        return None
    colours = class_colours(facts.classes)
    values: dict[str, list[float]] = {"sensitivity": [], "specificity": []}
    n_images: dict[str, list[int]] = {"sensitivity": [], "specificity": []}
    for row in facts.metrics["rows"]:
        n_positive = int(row["n_positive"])
        behind = {"sensitivity": n_positive, "specificity": int(row["n_images"]) - n_positive}
        for name, n_behind in behind.items():
            if row[name] is not None:
                values[name].append(float(row[name]))
                n_images[name].append(n_behind)
    if not any(values.values()):
        return None
    figure = strip_figure(
        values,
        n_images=n_images,
        colours={"sensitivity": colours[facts.positive], "specificity": colours[facts.negative]},
        group_kind=facts.group_kind,
    )
    spans = [
        f"{name} from {min(found):.3f} to {max(found):.3f}, median {np.median(found):.3f}"
        for name, found in values.items()
        if found
    ]
    return {
        "uri": figure_to_svg(figure),
        "alt": f"One dot a {facts.group_kind}: {'; '.join(spans)}.",
        "caption": f"One dot a {facts.group_kind}; its area grows with the number of images. "
        "Below each row: median and quartiles.",
    }


def curve_charts(facts: Facts) -> list[Chart]:
    """Draw the ROC and the precision-recall curve, one line a class where there is no positive."""
    colours = class_colours(facts.classes)
    ranked = {name: _by_fold(facts, name) for name in _judged(facts)}
    which = facts.positive or "every class against the rest"
    by_fold = " Thin lines are folds." if facts.is_cross_validation else ""
    prevalence = None if facts.positive is None else float(_ranking(facts, which)[0].mean())
    chance = (
        "each class's own prevalence"
        if prevalence is None
        else f"the prevalence, {prevalence:.3f} (dotted)"
    )
    roc = roc_figure(ranked, colours=colours, operating_point=_operating_point(facts))
    precision_recall = precision_recall_figure(ranked, colours=colours, prevalence=prevalence)
    return [
        {
            "uri": figure_to_svg(roc),
            "alt": f"ROC curve, {which}. AUROC {_value(facts, 'auroc')}.",
            "caption": f"ROC, {which}; guessing lies on the dotted line.{by_fold}",
        },
        {
            "uri": figure_to_svg(precision_recall),
            "alt": f"Precision-recall curve, {which}. Average precision "
            f"{_value(facts, 'average_precision')}.",
            "caption": f"Precision and recall, {which}; guessing reaches {chance}.{by_fold}",
        },
    ]


def threshold_charts(facts: Facts) -> list[Chart]:
    """Draw true and false positive rate against the threshold; one chart a class judged."""
    colours = class_colours(facts.classes)
    point = _operating_point(facts)
    charts: list[Chart] = []
    for name, all_images in _pooled(facts).items():
        figure = rates_figure(
            all_images,
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
        charts.append(
            {
                "uri": figure_to_svg(figure),
                "alt": f"True and false positive rate of {name} against the threshold.{marked}",
                "caption": f"Rates against the threshold on the probability of {name}.{marked}",
            }
        )
    return charts


def histogram_charts(facts: Facts) -> list[Chart]:
    """Draw the scores by true class on log counts; one chart a class judged."""
    colours: dict[str, str] = {**class_colours(facts.classes), "the rest": SOFT_INK}
    charts: list[Chart] = []
    for name in _judged(facts):
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
        charts.append(
            {
                "uri": figure_to_svg(figure),
                "alt": f"Histogram of the probability of {name}, log counts. Medians: {medians}.",
                "caption": f"Probability of {name} by true class; counts on a log scale.",
            }
        )
    return charts


def _size_inches(facts: Facts) -> tuple[float, float]:
    return THIRD_OF_PAGE if facts.positive is None else HALF_PAGE


def _judged(facts: Facts) -> Sequence[str]:
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


def _pooled(facts: Facts) -> Mapping[str, Curves]:
    found = {}
    for name in _judged(facts):
        is_positive, scores = _ranking(facts, name)
        if is_positive.any() and not is_positive.all():
            found[name] = curves(is_positive, scores)
    return found


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
    return "undefined" if value is None else f"{value:.3f}"
