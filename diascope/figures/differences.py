"""Draw how far models lie apart: a point with its interval for each pair, beside a line at zero."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from diascope.figures.style import INK, SOFT_INK, panel, shortened, styled


def differences_figure(
    rows: Sequence[tuple[str, float | None, float | None, float | None, str]], *, label: str
) -> Figure:
    """Draw differences with their intervals, the first row on top.

    Parameters
    ----------
    rows : sequence of tuple
        Name, value, low and high of each (None where there is none), and its colour.
    label : str
        What is drawn, for the axis.
    """
    with styled():
        figure, axes = panel(label, "", size_inches=(7.4, 0.8 + 0.34 * len(rows)))
        axes.axvline(0, color=SOFT_INK, linewidth=1)
        for number, (_, value, low, high, colour) in enumerate(rows):
            height = len(rows) - 1 - number
            if low is not None and high is not None:
                axes.plot([low, high], [height] * 2, color=colour, linewidth=2.4)
            if value is None:
                axes.text(0, height, " cannot be told", va="center", color=SOFT_INK)
            else:
                axes.plot(value, height, marker="o", markersize=6, color=colour)
        axes.set_yticks(range(len(rows)), [shortened(name, 46) for name, *_ in rows][::-1])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        ends = [abs(end) for _, *values, _ in rows for end in values if end is not None]
        reach = 1.1 * max([0.005, *ends])
        axes.set_xlim(-reach, reach)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
    return figure
