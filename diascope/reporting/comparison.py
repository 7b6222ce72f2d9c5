"""The page of a comparison, and its conclusions in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from diascope.metrics.differences import BETTER, DIFFERENT, MAYBE, TOO_FEW
from diascope.metrics.model_comparison import LOWER_IS_BETTER, PRIMARY, Difference
from diascope.reporting.figures.intervals import intervals_figure
from diascope.reporting.figures.style import PALETTE, SOFT_INK, figure_to_svg
from diascope.reporting.measures import basis, measure
from diascope.reporting.report.test_access import times
from diascope.reporting.template import fill_template
from diascope.system.words import counted, plural

COLOURS = {BETTER: PALETTE[2], MAYBE: PALETTE[4], DIFFERENT: PALETTE[4]}
WHAT = {"test": "test", "val": "validation"}


def render_comparison(facts: Mapping[str, Any]) -> str:
    """Return the page of the content of ``comparison.json``."""
    found = [Difference(**row) for row in facts["differences"]]
    by_pair: dict[tuple[str, str], list[Difference]] = {}
    for one in found:
        by_pair.setdefault((one.first, one.second), []).append(one)
    return fill_template(
        "templates/comparison.html.j2",
        facts=facts,
        basis=basis_text(facts),
        sentences=sentences(facts),
        name_of=lambda metric: metric_name(metric, facts),
        p_text=_p_text,
        points={name: point_text(points) for name, points in facts["operating_points"].items()},
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
    )


def metric_name(metric: str, facts: Mapping[str, Any]) -> str:
    """Return what a metric is called in text."""
    return measure(metric, has_positive=facts["positive"] is not None)[0]


def basis_text(facts: Mapping[str, Any]) -> str:
    """Say what was compared, on what."""
    where = facts["split"]
    images = basis(facts["n_images"], facts["n_groups"], facts["group_kind"])
    if where.startswith("on-"):
        place = f"of external data ({where.removeprefix('on-')})"
    elif facts["n_folds"] > 1:
        place = f"of {facts['n_folds']} test folds"
    else:
        place = f"of {WHAT[where]}"
    return f"{counted(len(facts['models']), 'model')} on the same {images} {place}."


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Say which of each pair of models is better, or that no difference was shown.

    The primary metric comes first; others are named where one of the two is better, and then what
    only shows that they are used at different operating points. What differs in the training is
    said at the end.
    """
    by_pair: dict[tuple[str, str], list[Difference]] = {}
    for row in facts["differences"]:
        by_pair.setdefault((row["first"], row["second"]), []).append(Difference(**row))
    found = []
    for pair in by_pair.values():
        found += [
            _sentence(one, facts) for one in pair if one.metric == PRIMARY or one.verdict == BETTER
        ]
        different = [one for one in pair if one.verdict == DIFFERENT]
        found += [_of_operating_points(different, pair[0], facts)] if different else []
    return [*found, *facts["training"]["sentences"]]


def _of_operating_points(
    different: list[Difference], primary: Difference, facts: Mapping[str, Any]
) -> str:
    """Say what differs between two models at their operating points, and what that does not say."""
    first, second = primary.first, primary.second
    told = ", ".join(
        f"{metric_name(one.metric, facts)} {one.value or 0:+.3f} "
        f"(95 % interval {one.low or 0:+.3f} to {one.high or 0:+.3f})"
        for one in different
    )
    which = (
        f"{metric_name(PRIMARY, facts)}, which depends on no threshold, says which model is better"
        if primary.verdict == BETTER
        else f"in {metric_name(PRIMARY, facts)}, which depends on no threshold, neither model was "
        "shown to be better"
    )
    return (
        f"{first} and {second} are used at different operating points ({first} minus {second}: "
        f"{told}). Another threshold changes these figures without changing the model: {which}."
    )


def point_text(points: Sequence[Mapping[str, Any]]) -> str:
    """Return the thresholds of the runs of a model, and what they guarantee; empty without."""
    shown = [
        f"{point['threshold']:.4g}" + (f" ({point['target']})" if point["target"] else "")
        for point in points
        if point["threshold"] is not None
    ]
    return ", ".join(dict.fromkeys(shown))


def _sentence(one: Difference, facts: Mapping[str, Any]) -> str:
    metric, unit = metric_name(one.metric, facts), facts["group_kind"]
    if one.value is None or one.low is None or one.high is None:
        return (
            f"Whether {one.first} or {one.second} has the better {metric} cannot be judged: "
            f"{one.note}."
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
            f"{better} may be better than {worse}: its {metric} is {by} by {apart}, but among "
            "so many comparisons one could differ this much by chance."
        )
    figures = (
        f"{one.value:+.3f} (95 % interval {one.low:+.3f} to {one.high:+.3f}, "
        f"{counted(one.n_groups, unit)})"
    )
    if one.verdict == TOO_FEW:
        return (
            f"Too few {plural(unit)} to judge which of {one.first} and {one.second} has the better "
            f"{metric}: {figures}."
        )
    return (
        f"No difference in {metric} between {one.first} and {one.second} was shown: {figures}. "
        "This does not prove that they are equal: the interval shows how much they may differ."
    )


def openings_text(facts: Mapping[str, Any]) -> str:
    """Say how often the test images were opened, and what choosing by them costs."""
    if facts["split"] == "val":
        return "These are validation images: they may be used to choose between the models."
    opened = ""
    if facts["openings"]:
        opened = f"The test images have been opened {times(facts['openings']['same_images'])}. "
    return (
        f"{opened}Choosing the better model by this page means choosing by these images: its "
        "figures on them are then too optimistic. Choose on validation images (--split val)."
    )


def _difference_row(one: Difference, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **vars(one),
        "basis": basis(one.n_images, one.n_groups, facts["group_kind"], joint=", "),
        "colour": COLOURS.get(one.verdict, SOFT_INK),
    }


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _chart(differences: list[Difference], facts: Mapping[str, Any]) -> str:
    rows = [
        (metric_name(one.metric, facts), vars(one), COLOURS.get(one.verdict, SOFT_INK))
        for one in differences
    ]
    ends = [abs(end) for one in differences for end in (one.value, one.low, one.high) if end]
    reach = 1.1 * max([0.005, *ends])
    label = f"{differences[0].first} minus {differences[0].second}"
    figure = intervals_figure(rows, label=label, reference=0, limits=(-reach, reach))
    return figure_to_svg(figure)
