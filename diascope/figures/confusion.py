"""Draw the confusion matrix: counts, and the share of each true class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diascope.figures.style import INK, panel, shortened, styled

SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#cfe1ee", "#5b9bc8", "#0b4a75"])


def confusion_figure(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw counts and row percentages; the shade is the share of the true class.

    Parameters
    ----------
    counts : int (K, K)
        Rows are the true classes, columns the predicted ones.
    classes : sequence of str
        The K names in label order.
    """
    n_classes = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side_inches = min(max(3.4, 0.78 * n_classes), 12.0)
    names = [shortened(name, 16) for name in classes]
    with styled():
        figure, axes = panel(
            "predicted", "true", size_inches=(side_inches + 1.2, side_inches + 0.2)
        )
        axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(n_classes), names, rotation=0 if n_classes < 4 else 35, ha="center")
        if n_classes > 3:
            axes.tick_params(axis="x", rotation=35)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
                label.set_rotation_mode("anchor")
        axes.set_yticks(range(n_classes), names)
        axes.set_xticks(np.arange(0.5, n_classes - 1), minor=True)
        axes.set_yticks(np.arange(0.5, n_classes - 1), minor=True)
        axes.grid(visible=True, which="minor", color="white", linewidth=2)
        axes.tick_params(which="both", length=0)
        for row, column in np.ndindex(counts.shape):
            _write_cell(axes, (row, column), int(counts[row, column]), float(shares[row, column]))
    return figure


def _write_cell(axes, place: tuple[int, int], count: int, share: float) -> None:
    row, column = place
    n_classes = int(axes.get_images()[0].get_array().shape[0])
    if n_classes > 15:
        return
    colour = "white" if share > 0.55 else INK
    large, small = (15, 9.5) if n_classes < 4 else (9.5, 7)
    axes.annotate(
        f"{count:,}",
        (column, row),
        xytext=(0, 1),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=large,
        fontweight="bold" if row == column else "normal",
        color=colour,
    )
    axes.annotate(
        f"{share:.1%}",
        (column, row),
        xytext=(0, -2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=small,
        color=colour,
    )
