"""The page of a comparison, and what it says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

from diascope.data.spec import UNGROUPED
from diascope.figures.differences import differences_figure
from diascope.figures.style import PALETTE, SOFT_INK, figure_to_svg
from diascope.metrics.compare import (
    BETTER,
    LOWER_IS_BETTER,
    MAYBE,
    PRIMARY,
    TOO_FEW,
    Difference,
)
from diascope.metrics.estimate import Estimate, counted, plural
from diascope.reporting.filling import fill_template
from diascope.reporting.openings import times
from diascope.reporting.tables import measure

COLOURS = {BETTER: PALETTE[2], MAYBE: PALETTE[4]}
NOTHING = "-"
WHAT = {"test": "test", "val": "validation"}


def render_comparison(facts: Mapping[str, Any]) -> str:
    """Return the page of the content of ``comparison.json``."""
    found = [Difference(**row) for row in facts["differences"]]
    by_pair: dict[tuple[str, str], list[Difference]] = {}
    for one in found:
        by_pair.setdefault((one.first, one.second), []).append(one)
    return fill_template(
        "comparison.html.j2",
        facts=facts,
        basis=basis_text(facts),
        sentences=sentences(facts),
        columns=[metric_name(metric, facts) for metric in facts["metrics"]],
        models=[_model_row(model, facts["metrics"]) for model in facts["models"]],
        has_seeds=any(model["n_seeds"] > 1 for model in facts["models"]),
        pairs=[
            {
                "first": first,
                "second": second,
                "rows": [_difference_row(one, facts) for one in rows],
                "chart": _chart(rows, facts),
            }
            for (first, second), rows in by_pair.items()
        ],
        n_tests=sum(one.p is not None for one in found),
        openings=openings_text(facts),
        folders={
            name: ", ".join(PurePath(folder).name for folder in folders)
            for name, folders in facts["runs"].items()
        },
        version=version("diascope"),
    )


def metric_name(metric: str, facts: Mapping[str, Any]) -> str:
    """Return what a metric is called in text."""
    return measure(metric, has_positive=facts["positive"] is not None)[0]


def basis_text(facts: Mapping[str, Any]) -> str:
    """Say what was compared, on what."""
    where = facts["split"]
    images = f"{counted(facts['n_images'], 'image')}"
    if facts["group_kind"] != UNGROUPED:
        images += f" of {counted(facts['n_groups'], facts['group_kind'])}"
    if where.startswith("on-"):
        place = f"from elsewhere ({where.removeprefix('on-')})"
    elif facts["n_folds"] > 1:
        place = f"of {facts['n_folds']} test folds"
    else:
        place = f"of {WHAT[where]}"
    return f"{counted(len(facts['models']), 'model')} on the same {images} {place}."


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Say of each pair of models which is better, or that it cannot be told.

    The primary metric comes first; others are named where one of the two is better.
    """
    found = [Difference(**row) for row in facts["differences"]]
    told = []
    for one in found:
        if one.metric == PRIMARY or one.verdict == BETTER:
            told.append(_sentence(one, facts))
    return told


def _sentence(one: Difference, facts: Mapping[str, Any]) -> str:
    metric, unit = metric_name(one.metric, facts), facts["group_kind"]
    if one.value is None or one.low is None or one.high is None:
        return (
            f"Whether {one.first} or {one.second} is better in {metric} cannot be told: {one.note}."
        )
    better, worse = (one.first, one.second) if one.is_first_better else (one.second, one.first)
    low, high = sorted((abs(one.low), abs(one.high)))
    apart = f"{abs(one.value):.3f} (95 % interval {low:.3f} to {high:.3f}, "
    apart += f"{counted(one.n_groups, unit)})"
    by = "lower, which is better," if one.metric in LOWER_IS_BETTER else "higher"
    if one.verdict == BETTER:
        return f"{better} is better than {worse}: its {metric} is {by} by {apart}."
    if one.verdict == MAYBE:
        return (
            f"{better} may be better than {worse}: its {metric} is {by} by {apart}, but of "
            "so many comparisons one could come so far by chance."
        )
    figures = (
        f"{one.value:+.3f} (95 % interval {one.low:+.3f} to {one.high:+.3f}, "
        f"{counted(one.n_groups, unit)})"
    )
    if one.verdict == TOO_FEW:
        return (
            f"Too few {plural(unit)} to tell which of {one.first} and {one.second} has the better "
            f"{metric}: {figures}."
        )
    return (
        f"No difference in {metric} between {one.first} and {one.second} can be shown: {figures}. "
        "That is no proof that they are alike: the interval says how far apart they may be."
    )


def openings_text(facts: Mapping[str, Any]) -> str:
    """Say how often the test images were looked at, and what choosing by them costs."""
    if facts["split"] == "val":
        return "These are validation images: they chose the networks, and may choose between them."
    opened = ""
    if facts["openings"]:
        opened = f"The test images have been opened {times(facts['openings']['same_images'])}. "
    return (
        f"{opened}Who takes the better model because of this page has chosen by these images: its "
        "figures on them are then too good. Choose on validation images (--split val)."
    )


def _model_row(model: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    spreads = model["seed_spread"]
    return {
        "name": model["name"],
        "n_seeds": model["n_seeds"],
        "cells": [
            {
                **_value_and_interval(Estimate(**model["estimates"][metric])),
                "spread": _spread(spreads[metric]),
            }
            for metric in metrics
        ],
    }


def _value_and_interval(estimate: Estimate) -> dict[str, str]:
    if estimate.value is None:
        return {"value": NOTHING, "interval": estimate.note}
    if estimate.low is None or estimate.high is None:
        return {"value": f"{estimate.value:.3f}", "interval": "no interval"}
    return {
        "value": f"{estimate.value:.3f}",
        "interval": f"{estimate.low:.3f} to {estimate.high:.3f}",
    }


def _spread(spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return ""
    return f"SD {spread['sd']:.4f} ({spread['least']:.3f} to {spread['greatest']:.3f})"


def _difference_row(one: Difference, facts: Mapping[str, Any]) -> dict[str, str]:
    has_interval = one.low is not None and one.high is not None
    return {
        "metric": metric_name(one.metric, facts),
        "value": NOTHING if one.value is None else f"{one.value:+.4f}",
        "interval": f"{one.low:+.4f} to {one.high:+.4f}" if has_interval else "no interval",
        "p": _p(one.p),
        "p_holm": _p(one.p_holm),
        "basis": f"{counted(one.n_images, 'image')}, {counted(one.n_groups, facts['group_kind'])}",
        "verdict": one.verdict,
        "colour": COLOURS.get(one.verdict, SOFT_INK),
        "note": one.note,
    }


def _p(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _chart(rows: Sequence[Difference], facts: Mapping[str, Any]) -> str:
    drawn = [
        (
            metric_name(one.metric, facts),
            one.value,
            one.low,
            one.high,
            COLOURS.get(one.verdict, SOFT_INK),
        )
        for one in rows
    ]
    label = f"{rows[0].first} minus {rows[0].second}"
    return figure_to_svg(differences_figure(drawn, label=label))
