"""Say whom the network works for: its metrics within subgroups, none of them hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.figures.style import figure_to_svg
from diascope.figures.subgroups import subgroups_figure
from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.compare import BETTER
from diascope.metrics.estimate import counted, plural
from diascope.reporting.charts import Chart
from diascope.reporting.facts import Facts
from diascope.reporting.tables import measure

WORSE = "worse"


def subgroups_of(facts: Facts) -> dict[str, Any] | None:
    """Return what the section on subgroups shows; None for metrics of versions without it.

    Returns
    -------
    dict
        ``divisions``: of each ``name, how, said`` (sentences), ``measures, rows, chart``; and
        ``left_out``, sentences.
    """
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
        key: measure(key, has_positive=facts.positive is not None)[0]
        for key in (*rows[0]["estimates"], *rows[0]["differences"])
    }
    measures = {key: names[key] for key in rows[0]["estimates"]}
    overall = {key: facts.metrics["estimates"][key]["value"] for key in measures}
    return {
        "name": found["name"],
        "how": found["how"],
        "said": _said(rows, names, facts.group_kind),
        "measures": measures,
        "compared": {key: names[key] for key in rows[0]["differences"]},
        "rows": [{**row, "is_small": row["n_groups"] < CARE_BELOW_GROUPS} for row in rows],
        "chart": _chart(found["name"], rows, measures, overall),
    }


def _said(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], group_kind: str
) -> list[str]:
    """Name the subgroups that are worse or better than the rest, and the smallest ones."""
    told = [_difference(row, key, names[key]) for row in rows for key in row["differences"]]
    said = [text for text in told if text]
    if not said:
        said.append("No subgroup can be told from the rest, which does not say that all are alike.")
    small = [row["name"] for row in rows if row["n_groups"] < CARE_BELOW_GROUPS]
    if small:
        said.append(
            f"Fewer than {counted(CARE_BELOW_GROUPS, group_kind)}, too few to rely on: "
            f"{', '.join(small)}."
        )
    lacking = [row["name"] for row in rows if _is_untold(row) and row["name"] not in small]
    if lacking:
        said.append(
            f"Too few {plural(group_kind)} of some class to judge against the rest: "
            f"{', '.join(lacking)}."
        )
    return said


def _is_untold(row: Mapping[str, Any]) -> bool:
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


def _chart(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    measures: Mapping[str, str],
    overall: Mapping[str, float | None],
) -> Chart:
    return {
        "uri": figure_to_svg(subgroups_figure(rows, measures=measures, overall=overall)),
        "alt": f"{', '.join(measures.values())} by {name}; values are in the table.",
        "caption": "Dashed: over all images. A hollow point has too few groups for an interval.",
    }
