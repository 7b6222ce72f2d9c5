"""Groups of classes that a clinic asks for, such as the malignant ones, against all others."""

from __future__ import annotations

from typing import Any

from diascope.metrics.class_groups import FIGURES
from diascope.metrics.thresholds import RATES
from diascope.reporting.report.facts import Facts
from diascope.system.words import plural


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the figures of each group of classes; None where none was asked for."""
    rows = facts.metrics.get("class_groups")
    if not rows:
        return None
    return {
        "figures": FIGURES,
        "rates": RATES,
        "rows": [{**row, "promise": _promise(row["point"], facts)} for row in rows],
    }


def _promise(point: dict[str, Any] | None, facts: Facts) -> str:
    """Say what a threshold was chosen for."""
    if point is None:
        return ""
    target, kinds = point["target"], plural(facts.group_kind)
    return (
        f"Chosen on the validation images of {point['n_groups']:,} {kinds} for a mean "
        f"{target['metric']} over {kinds} of at least {target['value']:g}, with "
        f"{target['confidence']:.0%} confidence (risk control; Bates et al. 2021)."
    )
