"""Draw the decision curve: net benefit against the threshold at which one acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from diascope.reporting.figures.style import PALETTE, SOFT_INK, panel, styled


def net_benefit_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw rows of `diascope.metrics.net_benefit.decision_curve` beside acting on all and none."""
    x = [row["threshold"] for row in rows]
    highest = [end for row in rows for end in (row["value"], row["high"]) if end is not None]
    top = max(0.01, *highest)
    with styled():
        figure, axes = panel("threshold on the probability", "net benefit")
        band = [row for row in rows if row["low"] is not None]
        axes.fill_between(
            [row["threshold"] for row in band],
            [row["low"] for row in band],
            [row["high"] for row in band],
            color=PALETTE[0],
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(x, [row["value"] for row in rows], color=PALETTE[0], label="on the network")
        axes.plot(x, [row["treat_all"] for row in rows], color=PALETTE[1], label="on all")
        axes.axhline(0, color=SOFT_INK, linewidth=1.2, label="on none")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.2 * top, 1.05 * top)
        axes.legend(loc="lower left", title="acting")
    return figure
