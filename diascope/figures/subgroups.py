"""Draw how well each subgroup fares: a point with its interval a row, a panel a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from diascope.figures.style import INK, PALETTE, SOFT_INK, shortened, styled


def subgroups_figure(
    rows: Sequence[Mapping[str, Any]],
    *,
    measures: Mapping[str, str],
    overall: Mapping[str, float | None],
) -> Figure:
    """Draw the metrics of each subgroup beside those of all images.

    Parameters
    ----------
    rows : sequence of mapping
        ``name`` and ``estimates`` (by the name of the measure), the first on top.
    measures : mapping of str to str
        What is drawn: key and name.
    overall : mapping of str to float
        The same over all images, drawn as a line.
    """
    with styled():
        figure = Figure(figsize=(9.4, 0.9 + 0.34 * len(rows)))
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, (key, label) in zip(panels, measures.items(), strict=True):
            if overall[key] is not None:
                axes.axvline(overall[key], color=SOFT_INK, linewidth=1, linestyle=(0, (2, 3)))
            for number, row in enumerate(rows):
                _draw(axes, row["estimates"][key], len(rows) - 1 - number)
            axes.set_xlabel(label)
            ends = [row["estimates"][key][end] for row in rows for end in ("value", "low")]
            axes.set_xlim(max(-0.03, min([0.95, *(e for e in ends if e is not None)]) - 0.04), 1.02)
            axes.set_ylim(-0.6, len(rows) - 0.4)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
        names = [shortened(str(row["name"]), 26) for row in rows]
        panels[0].set_yticks(range(len(rows)), names[::-1])
    return figure


def _draw(axes: Any, estimate: Mapping[str, Any], height: int) -> None:
    if estimate["value"] is None:
        return
    if estimate["low"] is None:  # a point that nobody can rely on
        axes.plot(
            estimate["value"], height, marker="o", markersize=5, color=PALETTE[0], mfc="white"
        )
        return
    axes.plot([estimate["low"], estimate["high"]], [height] * 2, color=PALETTE[0], linewidth=2)
    axes.plot(estimate["value"], height, marker="o", markersize=5, color=PALETTE[0])
