"""Lay out what spoilt images cost: sentences, a figure, and a table."""

from __future__ import annotations

from typing import Any

from diascope.figures.robustness import robustness_figure
from diascope.figures.style import figure_to_svg
from diascope.reporting.charts import Chart
from diascope.reporting.facts import Facts
from diascope.robustness.words import basis_text

DRAWN = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy"}


def robustness_of(facts: Facts) -> dict[str, Any] | None:
    """Return what the section on robustness shows; None where it was not asked for.

    Returns
    -------
    dict
        ``said`` (sentences), ``basis_text``, ``chart``, ``clean`` (estimates by name), ``rows`` (as
        in the metrics) and ``columns``, the keys and names of the changes to list.
    """
    found = facts.metrics.get("robustness")
    if not found:
        return None
    both = {"sensitivity": "sensitivity", "specificity": "specificity"}
    return {
        "said": found["said"],
        "basis_text": basis_text(found, facts.group_kind),
        "chart": _chart(found),
        "clean": found["clean"],
        "rows": found["rows"],
        "columns": {**DRAWN, **(both if facts.positive else {}), "certainty": "certainty"},
    }


def _chart(found: dict[str, Any]) -> Chart:
    figure = robustness_figure(found["rows"], measures=DRAWN)
    listed = "; ".join(
        f"{row['corruption']}, {row['said']}: {row['changes']['balanced_accuracy']['value']:+.3f}"
        for row in found["rows"]
        if row["changes"]["balanced_accuracy"]["value"] is not None
    )
    return {
        "uri": figure_to_svg(figure),
        "alt": f"Changes of AUROC and balanced accuracy. Balanced accuracy: {listed}.",
        "caption": "Each line is the interval of the change from the same images as they are; left "
        "of zero the network is worse. Mirrored: left to right, upside down, a quarter turn.",
    }
