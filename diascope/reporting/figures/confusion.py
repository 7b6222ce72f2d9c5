"""Draw the confusion matrix: counts, and percentages of each true class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diascope.reporting.figures.style import INK, panel, shortened, styled

MOST_CLASSES_WITH_NUMBERS = 15
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#cfe1ee", "#5b9bc8", "#0b4a75"])


def confusion_figure(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw counts and row percentages; the shade follows the percentage.

    Parameters
    ----------
    counts : int (K, K)
        Rows are the true classes, columns the predicted ones.
    """
    n_classes = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side_inches = min(max(3.0, 0.72 * n_classes), 12.0)
    names = [shortened(name, 16) for name in classes]
    middles = np.arange(n_classes) + 0.5
    with styled():
        figure, axes = panel(
            "predicted class", "true class", size_inches=(side_inches + 1.2, side_inches)
        )
        axes.pcolormesh(fractions, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=2)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_yticks(middles, names)
        axes.set_xticks(middles, names)
        axes.tick_params(length=0)
        if n_classes > 3:
            for label in axes.get_xticklabels():
                label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor")
        if n_classes <= MOST_CLASSES_WITH_NUMBERS:
            for row, column in np.ndindex(counts.shape):
                count, fraction = counts.item(row, column), fractions.item(row, column)
                _write_cell(axes, (row, column), count, fraction)
    return figure


def _write_cell(axes: Axes, cell: tuple[int, int], count: int, fraction: float) -> None:
    n_classes = round(axes.get_xlim()[1])
    row, column = cell
    large, small = (15, 9.5) if n_classes < 4 else (9.5, 7)
    weight = "bold" if row == column else "normal"
    colour = "white" if fraction > 0.5 else INK
    place = {"xy": (column + 0.5, row + 0.5), "textcoords": "offset points", "ha": "center"}
    axes.annotate(
        f"{count:,}", **place, xytext=(0, 1), va="bottom", size=large, weight=weight, color=colour
    )
    axes.annotate(f"{fraction:.1%}", **place, xytext=(0, -2), va="top", size=small, color=colour)
