"""How performance varies from one patient (or other group) to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from diascope.reporting.figures.groups import strip_figure
from diascope.reporting.measures import MEASURES
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of

N_SHOWN = 8


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the spread over the groups; None where each image is a group of its own."""
    if not facts.is_grouped:
        return None
    with_errors = groups_with_errors(facts)
    return {
        "chart": _chart(facts),
        "rows": _spread_rows(facts),
        "hardest": with_errors[:N_SHOWN],
        "n_with_errors": len(with_errors),
        "n_groups": facts.metrics["n_groups"],
    }


def groups_with_errors(facts: Facts) -> list[dict[str, Any]]:
    """Return the groups with misclassified images, the most errors first."""
    is_wrong = facts.predictions.labels != facts.predicted
    groups = pl.DataFrame({"name": facts.predictions.groups, "is_wrong": is_wrong})
    rows = groups.group_by("name").agg(
        n_images=pl.len(),
        n_wrong=pl.col("is_wrong").sum(),
        error_rate=pl.col("is_wrong").mean(),
    )
    with_errors = rows.filter(pl.col("n_wrong") > 0)
    return with_errors.sort(["n_wrong", "name"], descending=[True, False]).to_dicts()


def _spread_rows(facts: Facts) -> list[dict[str, Any]]:
    per_group = facts.metrics.get("per_group") or {}
    return [
        {"name": MEASURES[key][0], **per_group[key]}
        for key in ("sensitivity", "specificity", "auroc")
        if per_group.get(key) and per_group[key]["n_groups"]
    ]


def _chart(facts: Facts) -> Chart | None:
    """Draw sensitivity and specificity of every group; None without a positive class."""
    if facts.positive is None or facts.negative is None:
        return None
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
    colours = facts.colours
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
    return chart_of(
        figure,
        alt=f"One dot per {facts.group_kind}: {'; '.join(spans)}.",
        caption=f"One dot per {facts.group_kind}; its area grows with the number of images. "
        "Below each row: median and quartiles.",
    )
