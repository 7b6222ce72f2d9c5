"""Decision curve analysis: at which thresholds acting on the network does more good than harm."""

from __future__ import annotations

from typing import Any

from diascope.metrics.net_benefit import useful_range
from diascope.reporting.figures.net_benefit import net_benefit_figure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import chart_of


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the decision curve; None without a positive class."""
    rows = facts.metrics.get("decision_curve")
    if not rows:
        return None
    chart = chart_of(
        net_benefit_figure(rows),
        alt="Decision curve: net benefit of the network, of acting on all and on none.",
        caption="Net benefit as a fraction of all images, with the 95 % interval by "
        f"{facts.group_kind}.",
    )
    return {"text": _text(rows, str(facts.positive)), "chart": chart}


def _text(rows: list[dict[str, Any]], positive: str) -> str:
    found = useful_range(rows)
    verdict = (
        "At no threshold can it be shown that acting on the network is better than acting on all "
        "images or on none."
        if found is None
        else f"At thresholds from {found[0]:.2f} to {found[1]:.2f}, acting on the network is "
        "better than acting on all images and on none (the interval of the gain lies above zero)."
    )
    return (
        f"{verdict} A threshold of 0.20 means that one missed image is as bad as four unnecessary "
        "actions; net benefit weighs errors in this ratio (Vickers & Elkin 2006). It holds for the "
        f"prevalence of {positive} in these images, {rows[0]['prevalence']:.0%}, and for no other."
    )
