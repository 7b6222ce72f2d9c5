"""Draw the decision curve: net benefit against the threshold probability, and what is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diascope.metrics.net_benefit import useful_ranges
from diascope.reporting.figures.style import PALETTE, SOFT_INK, WIDE_INCHES, styled

NETWORK, OTHER = PALETTE[0], PALETTE[1]
HALF_STEP = 0.02  # of a shaded range beyond its ends, so that one threshold alone is seen


def net_benefit_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw rows of `diascope.metrics.net_benefit.decision_curve` in two panels.

    On the left the net benefit of the network, of treating all and of treating none; on the right
    the network less the better of the two, with its pointwise interval at each threshold. Shaded
    are the thresholds at which this interval lies above zero: the claim of the report.
    """
    with styled():
        figure = Figure(figsize=(WIDE_INCHES, 3.3))
        left, right = figure.subplots(1, 2)
        _draw_curves(left, rows)
        _draw_differences(right, rows)
        for axes in (left, right):
            axes.set_xlabel("threshold probability")
            axes.set_xlim(0, 1)
    return figure


def _draw_curves(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    x = [row["threshold"] for row in rows]
    top = max(0.01, *(row["value"] for row in rows), *(row["treat_all"] for row in rows))
    axes.plot(x, [row["value"] for row in rows], color=NETWORK, label="network")
    axes.plot(x, [row["treat_all"] for row in rows], color=OTHER, label="treat all")
    axes.axhline(0, color=SOFT_INK, linewidth=1.2, label="treat none")
    axes.set_ylabel("net benefit")
    axes.set_ylim(-0.2 * top, 1.05 * top)
    axes.legend(loc="best")


def _draw_differences(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for low, high in useful_ranges(rows):
        axes.axvspan(low - HALF_STEP, high + HALF_STEP, color=NETWORK, alpha=0.1, linewidth=0)
    axes.axhline(0, color=SOFT_INK, linewidth=1.2)
    for row in rows:
        has_interval = row["difference_low"] is not None
        if has_interval:
            ends = [row["difference_low"], row["difference_high"]]
            axes.plot([row["threshold"]] * 2, ends, color=NETWORK, linewidth=1.4)
        axes.plot(
            row["threshold"],
            row["difference"],
            marker="o",
            markersize=3.5,
            color=NETWORK,
            markerfacecolor=NETWORK if has_interval else "white",
        )
    highest = max(row["difference_high"] or row["difference"] for row in rows)
    top, bottom = max(0.01, highest), axes.get_ylim()[0]
    axes.set_ylim(max(bottom, -top), 1.05 * top)  # the longest intervals would hide the others
    axes.set_ylabel("difference in net benefit")
