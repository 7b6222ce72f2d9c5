"""Deployment and local validation: other data sets, and other prevalences."""

from __future__ import annotations

from typing import Any

from diascope.reporting.report.facts import Facts


def section(facts: Facts) -> dict[str, Any]:
    """Return whether there are external data, and predictive values by prevalence."""
    return {
        "has_external": bool(facts.external),
        "predictive_values": facts.metrics.get("predictive_values"),
    }
