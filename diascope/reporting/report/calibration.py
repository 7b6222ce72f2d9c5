"""Calibration and uncertainty: whether a probability means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.reporting.figures.reliability import reliability_figure
from diascope.reporting.figures.style import PALETTE, SOFT_INK
from diascope.reporting.measures import CALIBRATION_FIGURES
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import counted

COLOURS = {"before calibration": SOFT_INK, "after": PALETTE[0]}
ERRORS = {
    "ece": "expected calibration error",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "scaled_brier": "scaled Brier score",
}


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the reliability diagram and the errors of the probabilities."""
    found = facts.metrics.get("calibration")
    if not found:
        return None
    return {
        "text": _text(facts),
        "chart": _chart(facts),
        "rows": [
            {
                "name": name,
                "before": found["before"][key],
                "after": found["after"][key],
                "change": found["changes"].get(key),
            }
            for key, name in ERRORS.items()
        ],
        "worse": _worse(found),
        "brier": _brier(found, facts),
        "figures": CALIBRATION_FIGURES,
        "by_class": [{**row, "name": facts.classes[row["class"]]} for row in found["by_class"]],
        "risk_coverage": facts.metrics["risk_coverage"],
        "class_order": _positive_first(facts),
    }


def _text(facts: Facts) -> str:
    temperatures, numbers = facts.metrics["temperatures"], facts.metrics["n_calibrated"]
    if not all(numbers):
        return (
            "The probabilities are uncalibrated, as the network outputs them "
            f"({facts.settings['reasons']['calibration']})."
        )
    shown = ", ".join(f"{value:.2f}" for value in temperatures)
    text = (
        f"The logits were divided by a temperature ({shown}) fitted on "
        f"{' and '.join(f'{n:,}' for n in numbers)} validation images, which this training used "
        "for no other choice. Above 1, the network was overconfident on these; below 1, "
        "underconfident."
    )
    if facts.split == "val":
        text += (
            " These are the images evaluated here: the figures after calibration are apparent "
            "(in-sample), and not a validation."
        )
    return text


def _positive_first(facts: Facts) -> list[int]:
    """Return the numbers of the classes, that of the positive one first."""
    return sorted(range(len(facts.classes)), key=lambda k: facts.classes[k] != facts.positive)


def _worse(found: Mapping[str, Any]) -> str:
    """Say which errors calibration made larger on these images; empty where none."""
    grown = [
        f"the {ERRORS[key]} by {change['value']:.4f} ({_interval(change)})"
        for key, change in found["changes"].items()
        if change["value"] is not None and change["value"] > 0
    ]
    return f"On these images, calibration increased {' and '.join(grown)}." if grown else ""


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate["low"] is None:
        return "no interval"
    return f"95 % interval {estimate['low']:+.4f} to {estimate['high']:+.4f}"


def _brier(found: Mapping[str, Any], facts: Facts) -> str:
    """Say what a Brier score is compared with."""
    greatest = 1 if facts.has_positive else 2
    return (
        f"The Brier score runs from 0 (best) to {greatest}. A model that gives every image the "
        f"class proportions of these images would have {found['brier_reference']:.3f}; the scaled "
        "score is 1 for perfect probabilities, 0 for that model and negative for worse ones. The "
        "calibration error is above 0 by chance where there are few images."
    )


def _chart(facts: Facts) -> Chart:
    found = facts.metrics["calibration"]
    is_positive = found["judged"] == "positive"
    predicted = f"probability of {facts.positive if is_positive else 'the most probable class'}"
    observed = f"fraction that is {facts.positive if is_positive else 'of that class'}"
    figure = reliability_figure(
        {"before calibration": found["before"]["bins"], "after": found["after"]["bins"]},
        colours=COLOURS,
        x_label=predicted,
        y_label=observed,
    )
    rows = found["after"]["bins"]
    listed = "; ".join(f"{row['predicted']:.2f}: {row['observed']['value']:.2f}" for row in rows)
    return chart_of(
        figure,
        alt=f"Reliability diagram. {predicted} and {observed}, after calibration: {listed}.",
        caption=f"Each dot is a bin of about {counted(rows[0]['n_images'], 'image')}; the lines "
        f"are 95 % intervals by {facts.group_kind}. On the diagonal, predicted probabilities equal "
        "observed frequencies."
        + ("" if is_positive else " The most probable class is not always the predicted class."),
    )
