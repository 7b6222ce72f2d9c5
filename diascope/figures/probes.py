"""Draw how far each probe comes: a point with its interval a row."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from diascope.figures.style import INK, SOFT_INK, panel, shortened, styled

CHANCE = 0.5


def probes_figure(
    rows: Sequence[tuple[str, float | None, float | None, float | None, str]],
    *,
    beyond: float,
) -> Figure:
    """Draw AUROCs with their intervals, the first row on top.

    Parameters
    ----------
    rows : sequence of tuple
        Name, value, low and high of each (None where there is none), and its colour.
    beyond : float
        Where the shaded part begins that is as good as chance ends.
    """
    with styled():
        figure, axes = panel("AUROC", "", size_inches=(7.4, 0.75 + 0.31 * len(rows)))
        axes.axvspan(CHANCE, beyond, color=SOFT_INK, alpha=0.12, linewidth=0)
        axes.axvline(CHANCE, color=SOFT_INK, linewidth=1)
        for number, (_, value, low, high, colour) in enumerate(rows):
            height = len(rows) - 1 - number
            if low is not None and high is not None:
                axes.plot([low, high], [height] * 2, color=colour, linewidth=2.4)
            if value is None:
                axes.text(CHANCE + 0.004, height, "cannot be told", va="center", color=SOFT_INK)
            else:
                axes.plot(value, height, marker="o", markersize=6, color=colour)
        names = [shortened(name, 30) for name, *_ in rows]
        axes.set_yticks(range(len(rows)), names[::-1])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        ends = [low for _, _, low, _, _ in rows if low is not None]
        points = [value for _, value, *_ in rows if value is not None]
        axes.set_xlim(min([0.45, *ends, *points]) - 0.01, 1.005)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
    return figure
