"""Decision curve analysis: at which thresholds the network does more good than harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.metrics.net_benefit import useful_ranges
from diascope.reporting.figures.net_benefit import net_benefit_figure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import plural


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the decision curve; None without a positive class."""
    rows = facts.metrics.get("decision_curve")
    if not rows:
        return None
    return {
        "texts": [claim(rows), _meaning(rows, facts)],
        "chart": _chart(rows, facts),
        "note": _note(rows, facts),
        "rows": rows,
    }


def claim(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say where the network has the higher net benefit: where the interval drawn is above zero."""
    if all(row["difference_low"] is None for row in rows):
        return "There are too few groups for an interval of the difference: nothing is claimed."
    found = useful_ranges(rows)
    if not found:
        return (
            "At no threshold probability does the pointwise 95 % interval of the difference in net "
            "benefit lie above zero: the network is not shown to be better than treating all or "
            "treating none."
        )
    ranges = " and ".join(
        f"{low:.2f} to {high:.2f}" if low < high else f"{low:.2f}" for low, high in found
    )
    return (
        f"At threshold probabilities of {ranges}, the network has a higher net benefit than "
        "treating all and treating none: the pointwise 95 % interval of the difference from the "
        "better of the two lies above zero."
    )


def _meaning(rows: Sequence[Mapping[str, Any]], facts: Facts) -> str:
    return (
        "To treat stands for whatever follows a positive result: to refer, to examine, to look "
        "again. A threshold probability of 0.20 means that one missed positive image is as bad as "
        "four unnecessary treatments; net benefit weighs errors in this ratio (Vickers & Elkin "
        "2006). "
        f"It holds for the prevalence of {facts.positive} in these images, "
        f"{rows[0]['prevalence']:.0%}, and for no other. Read it at the thresholds that are "
        "reasonable in the clinic."
    )


def _chart(rows: Sequence[Mapping[str, Any]], facts: Facts) -> Chart:
    listed = "; ".join(f"{row['threshold']:.2f}: {row['difference']:+.3f}" for row in rows)
    return chart_of(
        net_benefit_figure(rows),
        alt="Decision curve: net benefit of the network, of treating all and of treating none; and "
        f"the difference of the network from the better of the two: {listed}.",
        caption="Left: net benefit as a fraction of all images. Right: the network less the better "
        "of treat all and treat none, on the same images, with pointwise 95 % intervals by "
        f"{facts.group_kind}; shaded where the interval lies above zero. Long intervals are "
        "cut at the bottom; the table below has them whole.",
    )


def _note(rows: Sequence[Mapping[str, Any]], facts: Facts) -> str:
    return (
        f"Intervals by resampling whole {plural(facts.group_kind)}, the same for the network and "
        "for what it is compared with. They are pointwise: each holds for one threshold that was "
        f"chosen beforehand, and none is corrected for looking at {len(rows)} of them, so the ends "
        "of a range are less certain than they look. Each combines the intervals of what is gained "
        "and what is lost (Zou & Donner 2008), so that it does not become too narrow where errors "
        "are rare; where treat all and treat none are about equal, it is the more cautious one of "
        "the two differences."
    )
