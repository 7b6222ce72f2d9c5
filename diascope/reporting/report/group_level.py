"""Results by patient (lesion, slide): whole groups judged once each, where they have a label."""

from __future__ import annotations

from typing import Any

from diascope.metrics.group_level import rule_text
from diascope.reporting.report.facts import Facts
from diascope.reporting.report.results import class_columns, class_rows, confusion_chart


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the metrics of groups, or why there are none; None where no groups are known."""
    found = facts.metrics.get("group_level")
    if not found or not facts.is_grouped:
        return None
    if found["why_not"]:
        return {"why_not": found["why_not"]}
    kind = facts.group_kind
    return {
        "why_not": "",
        "text": rule_text(found, kind),
        "candidates": found["candidates"],
        "estimates": found["estimates"],
        "confusion": confusion_chart(
            found["confusion"], facts.classes, f"each {kind} is assigned by the same decision rule"
        ),
        "class_columns": class_columns(found["per_class"]),
        "class_rows": class_rows(found, facts.classes),
    }
