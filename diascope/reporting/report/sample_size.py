"""Sample size: how precise the figures are, and how many groups a stated precision needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.sample_size import (
    Precision,
    clustering,
    proportion_design_effect,
    validation_sizes,
)
from diascope.reporting.measures import measure
from diascope.reporting.report.facts import Facts
from diascope.system.words import plural

WIDTHS = (0.1, 0.05)  # of the whole interval
TIMES = 4  # as many groups, which halve a width
FEW_GROUPS = 30  # of fewer, standard error and design effect are uncertain themselves
PROPORTIONS = ("sensitivity", "specificity", "recall")


def section(facts: Facts) -> dict[str, Any]:
    """Return the widths of the main intervals, those to expect, and the groups needed."""
    rows = [_row(name, one, facts) for name, one in _main_estimates(facts)]
    return {
        "rows": rows,
        "n_uncertain": sum(row["n_groups"] < FEW_GROUPS for row in rows if not row["why_not"]),
        "few": FEW_GROUPS,
        "fewest": CARE_BELOW_GROUPS,
        "widths": WIDTHS,
        "times": TIMES,
        "validation": _validation(facts),
        "kinds": plural(facts.group_kind) if facts.is_grouped else "images",
        "percent_level": f"{100 * facts.metrics['level']:g} %",
    }


def _main_estimates(facts: Facts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the figures that a clinic asks for first: what a case is missed or found by."""
    estimates = facts.metrics["estimates"]
    if facts.has_positive:
        for key in ("sensitivity", "specificity"):
            yield measure(key, has_positive=True)[0], estimates[key]
    else:
        for name, found in facts.metrics["per_class"].items():
            yield f"sensitivity (recall), {name}", found["recall"]
        yield "balanced accuracy", estimates["balanced_accuracy"]
    yield measure("auroc", has_positive=facts.has_positive)[0], estimates["auroc"]


def _row(name: str, estimate: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    row = {"name": name, "estimate": estimate, "n_groups": estimate["n_groups"], "why_not": ""}
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return {**row, "why_not": estimate["note"] or "no interval"}
    now = Precision(
        value,
        low,
        high,
        estimate["n_groups"],
        facts.metrics["level"],
        estimate.get("n_effective"),
    )
    is_of_one = facts.has_positive or name.startswith(PROPORTIONS)  # no mean over rare classes
    is_proportion = name.startswith(PROPORTIONS) and not now.all_agree
    effect = proportion_design_effect(now, estimate["n_images"]) if is_proportion else None
    return {
        **row,
        "width": high - low,
        "expected": now.width_with(TIMES * now.n_groups),
        "needed": [_at_least(now.groups_for(width)) if is_of_one else None for width in WIDTHS],
        "design_effect": effect,
    }


def _at_least(n_groups: int | None) -> int | None:
    """Ask for no fewer groups than an interval needs to be read without care."""
    return None if n_groups is None else max(CARE_BELOW_GROUPS, n_groups)


def _validation(facts: Facts) -> dict[str, Any] | None:
    """Return the criteria for an external validation; None without a positive class."""
    estimate = facts.metrics["estimates"]["auroc"]
    predictions = facts.predictions
    if facts.positive is None or estimate["value"] is None or estimate["value"] <= 0.5:
        return None
    index = facts.classes.index(facts.positive)
    is_positive = predictions.labels == index
    if not 0 < is_positive.sum() < len(is_positive):
        return None
    probabilities = predictions.probabilities[:, index]
    group_of = np.unique(np.asarray(predictions.groups, dtype=str), return_inverse=True)[1]
    n_groups = int(group_of.max()) + 1
    is_single = n_groups == len(is_positive) or n_groups < 2
    effect = 1.0 if is_single else clustering(is_positive - probabilities, group_of)
    a_group = len(is_positive) / n_groups
    return {
        "rows": [
            {**one, "n_groups": one["n"] and _at_least(math.ceil(one["n"] * effect / a_group))}
            for one in validation_sizes(is_positive, probabilities, estimate["value"])
        ],
        "prevalence": float(is_positive.mean()),
        "auroc": estimate["value"],
        "design_effect": effect,
        "images_a_group": a_group,
        "n_images": len(is_positive),
        "n_groups": n_groups,
    }
