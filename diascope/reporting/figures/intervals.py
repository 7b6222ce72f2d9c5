"""Draw estimates with their intervals, a row each: probes, differences, subgroups, corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diascope.reporting.figures.style import (
    DOTTED,
    PALETTE,
    SOFT_INK,
    WIDE_INCHES,
    name_rows,
    panel,
    shortened,
    styled,
)

STRENGTHS = {"mild": "#9cc4de", "middle": "#3d8fc4", "strong": "#0b4a78"}
SPREAD = 0.24  # of a row, between two strengths


def intervals_figure(
    rows: Sequence[tuple[str, Mapping[str, Any], str]],
    *,
    label: str,
    reference: float,
    limits: tuple[float, float],
    shaded_to: float | None = None,
) -> Figure:
    """Draw estimates beside a line at a reference value, the first row on top.

    Parameters
    ----------
    rows : sequence of tuple
        Name, ``value, low, high`` and colour of each.
    label : str
        What is drawn, for the axis.
    shaded_to : float, optional
        Where the values end that are no better than the reference.
    """
    with styled():
        figure, axes = panel(label, "", size_inches=(7.4, 0.8 + 0.33 * len(rows)))
        axes.axvline(reference, color=SOFT_INK, linewidth=1)
        if shaded_to is not None:
            axes.axvspan(reference, shaded_to, color=SOFT_INK, alpha=0.12, linewidth=0)
        for height, (_, estimate, colour) in enumerate(reversed(rows)):
            if estimate["value"] is None:
                axes.text(reference, height, "  undetermined", va="center", color=SOFT_INK)
            _draw(axes, estimate, height, colour)
        axes.set_xlim(*limits)
        name_rows(axes, [shortened(name, 46) for name, *_ in rows])
    return figure


def subgroups_figure(
    rows: Sequence[Mapping[str, Any]],
    *,
    measures: Mapping[str, str],
    overall: Mapping[str, float | None],
) -> Figure:
    """Draw the metrics of each subgroup beside those of all images, a panel a metric.

    Parameters
    ----------
    rows : sequence of mapping
        ``name`` and ``estimates`` (by the key of the metric), the first on top.
    measures : mapping of str to str
        What is drawn: key and name.
    overall : mapping of str to float
        The same over all images, drawn as a line.
    """
    with styled():
        figure, panels = _panels(measures, len(rows))
        for axes, key in zip(panels, measures, strict=True):
            value = overall[key]
            if value is not None:
                axes.axvline(value, color=SOFT_INK, linewidth=1, linestyle=DOTTED)
            for height, row in enumerate(reversed(rows)):
                _draw(axes, row["estimates"][key], height, PALETTE[0], is_clipped=False)
            ends = [row["estimates"][key][end] for row in rows for end in ("value", "low")]
            left = max(0.0, min([0.95, *(end for end in ends if end is not None)]) - 0.04)
            axes.set_xlim(max(0.0, left - 0.02 * (1 - left)), 1)  # no metric goes beyond 1
            name_rows(axes, [shortened(str(row["name"]), 26) for row in rows])
    return figure


def robustness_figure(rows: Sequence[Mapping[str, Any]], *, measures: Mapping[str, str]) -> Figure:
    """Draw changes by each corruption: a panel a metric, a row a corruption, a colour a strength.

    Parameters
    ----------
    rows : sequence of mapping
        ``corruption`` and ``changes`` (an estimate by the key of the metric), the strengths of a
        corruption one after another, the mildest first.
    measures : mapping of str to str
        What is drawn: key and name.
    """
    names = list(dict.fromkeys(str(row["corruption"]) for row in rows))
    with styled():
        figure, panels = _panels({k: f"change of {m}" for k, m in measures.items()}, len(names))
        for axes, key in zip(panels, measures, strict=True):
            axes.axvline(0, color=SOFT_INK, linewidth=1)
            for number, name in enumerate(reversed(names)):
                changes = [row["changes"][key] for row in rows if row["corruption"] == name]
                for level, (change, colour) in enumerate(
                    zip(changes, STRENGTHS.values(), strict=False)
                ):
                    # nothing changed in these images: no line, which would be that of "none of n"
                    shown = {**change, "low": None} if change["value"] == 0 else change
                    _draw(axes, shown, number + SPREAD * (1 - level), colour)
            name_rows(axes, names)
        for strength, colour in STRENGTHS.items():
            panels[-1].plot([], [], marker="o", color=colour, label=strength)
        figure.legend(loc="outside upper right", ncols=len(STRENGTHS))
    return figure


def _panels(labels: Mapping[str, str], n_rows: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(WIDE_INCHES, 1.0 + 0.35 * n_rows))
    panels = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
    for axes, label in zip(panels, labels.values(), strict=True):
        axes.set_xlabel(label)
    return figure, panels


def _draw(
    axes: Axes,
    estimate: Mapping[str, Any],
    height: float,
    colour: str,
    *,
    is_clipped: bool = True,
) -> None:
    """Draw a point and its interval; the point is hollow where there is no interval."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    inside = "white"
    if low is not None and high is not None:
        axes.plot(
            [low, high], [height] * 2, color=colour, linewidth=2.2, clip_on=is_clipped, zorder=3
        )
        inside = colour
    if value is not None:
        axes.plot(
            value,
            height,
            marker="o",
            markersize=5,
            color=colour,
            markerfacecolor=inside,
            clip_on=is_clipped,
            zorder=4,
        )
