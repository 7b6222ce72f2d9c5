"""Model and cost: size, multiply-adds, and the time that predictions and training took."""

from __future__ import annotations

from typing import Any

from diascope.bundle.cost import read_cost
from diascope.reporting.cost_table import NOTE, cost_rows
from diascope.reporting.report.facts import Facts


def section(facts: Facts) -> dict[str, Any]:
    """Return the figures as they were measured when the run was evaluated."""
    return {
        "is_measured": read_cost(facts.run.folder) is not None,
        "rows": cost_rows(facts.run),
        "note": NOTE,
    }
