"""Subgroup performance: the metrics within subgroups of the metadata, none of them hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.differences import BETTER
from diascope.reporting.figures.intervals import subgroups_figure
from diascope.reporting.measures import measure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import counted, first_of, plural

WORSE = "worse"
WIDE_APART = 0.1  # accuracies that a reader would compare
Rows = Sequence[Mapping[str, Any]]


def section(facts: Facts) -> dict[str, Any] | None:
    """Return sentences, a chart and tables for each division into subgroups."""
    found = facts.metrics.get("subgroups")
    if found is None:
        return None
    return {
        "divisions": [_division(one, facts) for one in found["divisions"]],
        "left_out": found["left_out"],
        "method": _method(found, facts),
    }


def _division(found: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    rows = found["rows"]
    names = _names(rows, has_positive=facts.has_positive)
    recalls = _recall_table(rows, facts)
    return {
        "name": found["name"],
        "how": found["how"],
        "texts": [*texts_of(rows, facts), *recalls["texts"]],
        "tables": [
            _table(rows, names),
            *(
                _table(of_one, _names(of_one, has_positive=True), f"{name} against the rest")
                for name, of_one in found.get("conditions", {}).items()
            ),
        ],
        "recalls": recalls,
        "chart": _chart(found, rows, names, facts),
    }


def _names(rows: Rows, *, has_positive: bool) -> dict[str, str]:
    keys = (*rows[0]["estimates"], *rows[0]["differences"])
    return {key: measure(key, has_positive=has_positive)[0] for key in keys}


def _table(rows: Rows, names: Mapping[str, str], title: str = "") -> dict[str, Any]:
    return {
        "title": title,
        "metrics": {key: names[key] for key in rows[0]["estimates"]},
        "compared": {key: names[key] for key in rows[0]["differences"]},
        "rows": [{**row, "is_small": row["n_groups"] < CARE_BELOW_GROUPS} for row in rows],
        "texts": [] if not title else list(filter(None, (_verdicts(row, names) for row in rows))),
    }


def _chart(
    found: Mapping[str, Any], rows: Rows, names: Mapping[str, str], facts: Facts
) -> Chart | None:
    charted = {
        key: names[key]
        for key in rows[0]["estimates"]
        if any(row["estimates"][key]["value"] is not None for row in rows)
    }
    if not charted:
        return None
    overall = {key: facts.metrics["estimates"][key]["value"] for key in charted}
    return chart_of(
        subgroups_figure(rows, measures=charted, overall=overall),
        alt=f"{', '.join(charted.values())} by {found['name']}; values are in the table.",
        caption="Dotted: all images. A hollow point has too few groups for an interval.",
    )


def texts_of(rows: Rows, facts: Facts) -> list[str]:
    """Say what was compared and found, what was not compared and why, and how blind the test was.

    Parameters
    ----------
    rows : sequence of mapping
        Those of `diascope.metrics.subgroups.judge_subgroups`.
    """
    names = _names(rows, has_positive=facts.has_positive)
    found = [text for row in rows if (text := _verdicts(row, names))]
    tested = [row for row in rows if _is_tested(row)]
    untested = [row for row in rows if not _is_tested(row)]
    if not tested:
        found.append("No subgroup could be compared with the rest.")
    elif not found:
        compared = "could be compared with the rest, and none of these differs"
        if len(tested) == 1:
            compared = "could be compared with the rest, and it does not differ"
        found.append(
            f"{len(tested)} of {counted(len(rows), 'subgroup')} {compared} detectably, which does "
            "not prove equality."
        )
    return [
        *found,
        *_blindness(tested, names),
        *_about_untested(untested, facts),
        *_about_mix(rows, facts),
        *_about_few(rows, facts),
    ]


def _is_tested(row: Mapping[str, Any]) -> bool:
    return any(one["p"] is not None for one in row["differences"].values())


def _verdicts(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return " ".join(
        f"{row['name']}: {names[metric]} is {'lower' if one['verdict'] == WORSE else 'higher'} "
        f"than in the rest by {abs(one['value']):.3f} (95 % interval {one['low']:+.3f} to "
        f"{one['high']:+.3f}; {_p_text(one['p_holm'])} after correction)."
        for metric, one in row["differences"].items()
        if one["verdict"] in (BETTER, WORSE)
    )


def _blindness(tested: Rows, names: Mapping[str, str]) -> list[str]:
    """Say which differences would have been found, from the best to the worst known subgroup."""
    parts = []
    for metric in tested[0]["differences"] if tested else ():
        differences = [
            smallest
            for row in tested
            if (smallest := row["differences"][metric]["detectable"]) is not None
        ]
        known = sorted({f"{one:.2f}" for one in differences if one is not None}, key=float)
        if known:
            parts.append(f"{names[metric]} {' to '.join(dict.fromkeys((known[0], known[-1])))}")
    if not parts:
        return []
    return [
        "Smallest difference from the rest that would be found with a power of 80 %, by subgroup: "
        f"{'; '.join(parts)}."
    ]


def _about_untested(untested: Rows, facts: Facts) -> list[str]:
    one_class = [row for row in untested if row["only_class"] is not None]
    others = [row["name"] for row in untested if row["only_class"] is None]
    found = []
    if one_class:
        listed = first_of(
            [f"{row['name']} ({facts.classes[row['only_class']]} only)" for row in one_class], 12
        )
        found.append(
            f"Confounded with the class, and so not compared: {listed}. What looks like a "
            "difference there is one between classes."
        )
    if others:
        found.append(
            f"Not compared, because one side has too few {plural(facts.group_kind)} of some class: "
            f"{first_of(others, 20)}."
        )
    return found


def _about_mix(rows: Rows, facts: Facts) -> list[str]:
    """Warn of comparing accuracies of subgroups that have other classes."""
    one_class = [row for row in rows if row["only_class"] is not None and _is_tested(row)]
    found = []
    if facts.has_positive and one_class:
        listed = first_of(
            [f"{row['name']} ({facts.classes[row['only_class']]} only)" for row in one_class], 12
        )
        found.append(
            f"Confounded with the class: {listed}. These are compared within that class alone."
        )
    known = [
        (row["estimates"]["accuracy"]["value"], row["name"])
        for row in rows
        if "accuracy" in row["estimates"] and row["estimates"]["accuracy"]["value"] is not None
    ]
    if known and max(known)[0] - min(known)[0] >= WIDE_APART:
        (least, first), (most, last) = min(known), max(known)
        found.append(
            f"Accuracy goes from {least:.2f} ({first}) to {most:.2f} ({last}). It depends on which "
            "classes a subgroup has, and how many of each, so it is not compared; recall, class by "
            "class, is."
        )
    return found


def _about_few(rows: Rows, facts: Facts) -> list[str]:
    small = [row["name"] for row in rows if row["n_groups"] < CARE_BELOW_GROUPS]
    if not small:
        return []
    few = counted(CARE_BELOW_GROUPS, facts.group_kind)
    return [f"Fewer than {few}, too few to rely on: {first_of(small, 20)}."]


def _recall_table(rows: Rows, facts: Facts) -> dict[str, Any]:
    """Return the recall of each class in each subgroup; without classes where there is none."""
    n_classes = len(rows[0].get("recalls") or [])
    shown = [
        k for k in range(n_classes) if sum(r["recalls"][k]["value"] is not None for r in rows) > 1
    ]
    cells = [
        {
            "name": row["name"],
            "cells": [(row["recalls"][k], row["recall_differences"][k]) for k in shown],
        }
        for row in rows
    ]
    tests = [one for row in cells for _, one in row["cells"]]
    texts = [
        f"{row['name']}: recall of {facts.classes[k]} is "
        f"{'lower' if one['verdict'] == WORSE else 'higher'} than in the rest by "
        f"{abs(one['value']):.3f} (95 % interval {one['low']:+.3f} to {one['high']:+.3f}; "
        f"{_p_text(one['p_holm'])} after correction)."
        for row in cells
        for k, (_, one) in zip(shown, row["cells"], strict=True)
        if one["verdict"] in (BETTER, WORSE)
    ]
    n_tested = sum(one["p"] is not None for one in tests)
    if shown and not texts and n_tested:
        texts = [
            f"Of {len(tests)} recalls (one class in one subgroup), {n_tested} could be compared "
            "with the rest, and none differs detectably."
        ]
    texts += _of_one_subgroup(rows, n_classes, facts)
    return {"classes": [facts.classes[k] for k in shown], "rows": cells, "texts": texts}


def _of_one_subgroup(rows: Rows, n_classes: int, facts: Facts) -> list[str]:
    """Name the classes whose images are all in one subgroup: they cannot be compared."""
    inside: dict[str, list[str]] = {}
    for k in range(n_classes):
        names = [row["name"] for row in rows if row["recalls"][k]["value"] is not None]
        if len(names) == 1:
            inside.setdefault(names[0], []).append(facts.classes[k])
    return [
        f"Confounded with the class: all images of {', '.join(classes)} are in {name}, so their "
        "recall cannot be compared."
        for name, classes in inside.items()
    ]


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _method(found: Mapping[str, Any], facts: Facts) -> str:
    of_classes = (
        ""
        if facts.has_positive
        else " The difference is in balanced accuracy over the classes that both have, so that a "
        "subgroup without the hard classes does not look better; recalls are compared where both "
        f"sides have at least {counted(CARE_BELOW_GROUPS, facts.group_kind)} of the class, and "
        "corrected by themselves."
    )
    times = found.get("n_resamples")
    return (
        "Test: each subgroup is compared with the rest on the same "
        f"{f'{times:,} ' if times else ''}resamples of whole {plural(facts.group_kind)} (paired "
        "bootstrap by group), two-sided. It is called better or worse where p is below 0.05 after "
        "Holm's correction over all comparisons of the same attribute; attributes are not "
        "corrected for each other. The smallest difference that would be found is for a power of "
        f"80 % and a p-value that stands out by itself after that correction.{of_classes}"
    )
