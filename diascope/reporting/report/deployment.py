"""Deployment and local validation: other data sets, and other prevalences."""

from __future__ import annotations

from typing import Any

from diascope.data.spec import UNGROUPED
from diascope.reporting.report.facts import Facts


def section(facts: Facts) -> dict[str, Any]:
    """Return the results on external data, and predictive values by prevalence."""
    return {
        "external": [
            {
                "name": name,
                "has_positive": metrics["positive"] is not None,
                "group_kind": metrics["group_kind"],
                "is_grouped": metrics["group_kind"] != UNGROUPED,
                "estimates": metrics["estimates"],
                "warnings": metrics["warnings"],
                "n_openings": metrics["openings"]["same_images"]
                + metrics["openings"]["overlapping"],
            }
            for name, metrics in facts.external.items()
        ],
        "predictive_values": facts.metrics.get("predictive_values"),
    }
