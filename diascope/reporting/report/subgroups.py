"""Subgroup performance: the metrics within subgroups of the metadata, none of them hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.differences import BETTER
from diascope.reporting.figures.intervals import subgroups_figure
from diascope.reporting.measures import measure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import chart_of
from diascope.system.words import counted, plural

WORSE = "worse"


def section(facts: Facts) -> dict[str, Any] | None:
    """Return sentences, a chart and a table for each division into subgroups."""
    found = facts.metrics.get("subgroups")
    if found is None:
        return None
    return {
        "divisions": [_division(one, facts) for one in found["divisions"]],
        "left_out": found["left_out"],
    }


def _division(found: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    rows = found["rows"]
    names = {
        key: measure(key, has_positive=facts.has_positive)[0]
        for key in (*rows[0]["estimates"], *rows[0]["differences"])
    }
    metrics = {key: names[key] for key in rows[0]["estimates"]}
    charted = {
        key: name
        for key, name in metrics.items()
        if any(row["estimates"][key]["value"] is not None for row in rows)
    }
    overall = {key: facts.metrics["estimates"][key]["value"] for key in charted}
    return {
        "name": found["name"],
        "how": found["how"],
        "texts": _texts(rows, names, facts.group_kind),
        "metrics": metrics,
        "compared": {key: names[key] for key in rows[0]["differences"]},
        "rows": [{**row, "is_small": row["n_groups"] < CARE_BELOW_GROUPS} for row in rows],
        "chart": chart_of(
            subgroups_figure(rows, measures=charted, overall=overall),
            alt=f"{', '.join(charted.values())} by {found['name']}; values are in the table.",
            caption="Dotted: all images. A hollow point has too few groups for an interval.",
        )
        if charted
        else None,
    }


def _texts(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], group_kind: str
) -> list[str]:
    """Name the subgroups that are worse or better than the rest, and the smallest ones."""
    differences = [_difference(row, key, names[key]) for row in rows for key in row["differences"]]
    texts = [text for text in differences if text]
    if not texts:
        texts.append("No subgroup differs detectably from the rest; this does not prove equality.")
    small = [row["name"] for row in rows if row["n_groups"] < CARE_BELOW_GROUPS]
    if small:
        texts.append(
            f"Fewer than {counted(CARE_BELOW_GROUPS, group_kind)}, too few to rely on: "
            f"{', '.join(small)}."
        )
    lacking = [row["name"] for row in rows if _has_no_p(row) and row["name"] not in small]
    if lacking:
        texts.append(
            f"Too few {plural(group_kind)} of some class to compare with the rest: "
            f"{', '.join(lacking)}."
        )
    return texts


def _has_no_p(row: Mapping[str, Any]) -> bool:
    return all(one["p"] is None for one in row["differences"].values())


def _difference(row: Mapping[str, Any], metric: str, name: str) -> str:
    one = row["differences"][metric]
    if one["verdict"] not in (BETTER, WORSE):
        return ""
    side = "lower" if one["verdict"] == WORSE else "higher"
    return (
        f"{row['name']}: {name} is {side} than in the rest by {abs(one['value']):.3f} "
        f"(95 % interval {one['low']:+.3f} to {one['high']:+.3f})."
    )
