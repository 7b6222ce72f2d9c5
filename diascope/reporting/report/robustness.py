"""Robustness to image corruption: how much is lost on blurred, noisy or shifted images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diascope.data.exam import evaluate_command
from diascope.evaluation.robustness.words import basis_text, unseen_text
from diascope.reporting.figures.intervals import robustness_figure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of

CHARTED = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy"}
OF_POSITIVE = {"sensitivity": "sensitivity", "specificity": "specificity"}


def section(facts: Facts) -> dict[str, Any]:
    """Return sentences, a chart and a table, or why it was not evaluated."""
    found = facts.metrics.get("robustness") or {"why_not": "nobody asked for it"}
    if "why_not" in found:
        command = f"{evaluate_command(Path('RUN'), facts.split)} --robustness"
        return {"found": None, "why_not": found["why_not"], "command": command}
    return {
        "found": found,
        "basis": f"{basis_text(found, facts.group_kind)} {unseen_text(found)}",
        "chart": _chart(found),
        "metrics": {
            **CHARTED,
            **(OF_POSITIVE if facts.has_positive else {}),
            "certainty": "confidence",
        },
    }


def _chart(found: dict[str, Any]) -> Chart:
    figure = robustness_figure(found["rows"], measures=CHARTED)
    changes = [(row, row["changes"]["balanced_accuracy"]["value"]) for row in found["rows"]]
    listed = "; ".join(
        f"{row['corruption']}, {row['description']}: {change:+.3f}"
        for row, change in changes
        if change is not None
    )
    return chart_of(
        figure,
        alt=f"Changes of AUROC and balanced accuracy. Balanced accuracy: {listed}.",
        caption="Each line is the interval of the change from the same images without "
        "corruption; left of zero the network is worse. Mirrored: left to right, upside down, a "
        "quarter turn.",
    )
