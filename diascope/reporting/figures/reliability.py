"""Draw observed frequencies against predicted probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from diascope.reporting.figures.style import DOTTED, SOFT_INK, panel, styled


def reliability_figure(
    bins: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    colours: Mapping[str, str],
    x_label: str,
    y_label: str,
) -> Figure:
    """Draw a reliability diagram (DeGroot & Fienberg 1983); the diagonal is ideal.

    Parameters
    ----------
    bins : mapping of str to sequence of mapping
        By name, such as "before" and "after": ``predicted`` and ``observed``, the second an
        estimate whose interval is drawn as a line.
    """
    with styled():
        figure, axes = panel(x_label, y_label)
        axes.plot([0, 1], [0, 1], color=SOFT_INK, linewidth=1, linestyle=DOTTED)
        for name, rows in bins.items():
            x = [row["predicted"] for row in rows]
            y = [row["observed"]["value"] for row in rows]
            for row in rows:
                low, high = row["observed"]["low"], row["observed"]["high"]
                if low is not None and high is not None:
                    line = [row["predicted"]] * 2, [low, high]
                    axes.plot(*line, color=colours[name], linewidth=1.2, alpha=0.6)
            axes.plot(x, y, color=colours[name], marker="o", markersize=4, label=name)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="upper left")
    return figure
