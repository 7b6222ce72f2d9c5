"""Draw how a property of the images is distributed in each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from diascope.figures.style import INK, LINES, panel, shortened, styled

N_BINS = 40
MOST_OUTLINES = 4


def distribution_figure(
    values: Mapping[str, NDArray[np.floating]], *, colours: Mapping[str, str], name: str
) -> Figure:
    """Draw one property: outlines of up to four classes, of more a row each.

    Parameters
    ----------
    values : mapping of str to float (N_k,)
        The property of the images of each class; at least one class has some.
    colours : mapping of str to str
        One colour a class.
    name : str
        What the property is, with its unit, for the axis.
    """
    present = {label: numbers for label, numbers in values.items() if len(numbers)}
    with styled():
        if len(present) <= MOST_OUTLINES:
            figure, axes = panel(name, "share of the images of a class")
            _draw_outlines(axes, present, colours)
            figure.legend(loc="outside upper left", ncols=2)
        else:
            figure, axes = panel(name, "", size_inches=(4.6, 0.9 + 0.34 * len(present)))
            _draw_rows(axes, present, colours)
    return figure


def _draw_outlines(
    axes: Axes, values: Mapping[str, NDArray[np.floating]], colours: Mapping[str, str]
) -> None:
    edges = _edges(np.concatenate(list(values.values())))
    highest = 0.0
    for index, (label, numbers) in enumerate(values.items()):
        shares = np.histogram(np.clip(numbers, *edges[[0, -1]]), bins=edges)[0] / len(numbers)
        highest = max(highest, float(shares.max()))
        axes.stairs(shares, edges, fill=True, color=colours[label], alpha=0.18, linewidth=0)
        axes.stairs(
            shares,
            edges,
            color=colours[label],
            linestyle=LINES[index % len(LINES)],
            linewidth=1.6,
            label=shortened(label),
        )
    axes.set_ylim(0, 1.05 * highest)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))


def _edges(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the borders of the bins; the outermost also hold the few values beyond them.

    Whole numbers fall into bins of equally many of them.
    """
    low, high = (float(end) for end in np.quantile(values, [0.001, 0.999], method="nearest"))
    if (values == np.round(values)).all():
        step = max(1, -(-round(high - low + 1) // N_BINS))
        return np.arange(low - 0.5, high + step + 0.5, step)
    return np.linspace(low, high if high > low else low + 1, N_BINS + 1)


def _draw_rows(
    axes: Axes, values: dict[str, NDArray[np.floating]], colours: Mapping[str, str]
) -> None:
    """Draw the middle 90 % as a thin line, the middle half as a thick one, the median as a dot."""
    for height, label in enumerate(reversed(values)):
        p5, low, median, high, p95 = np.quantile(values[label], [0.05, 0.25, 0.5, 0.75, 0.95])
        axes.plot([p5, p95], [height] * 2, color=colours[label], linewidth=1.4)
        axes.plot([low, high], [height] * 2, color=colours[label], linewidth=6.5, alpha=0.75)
        axes.plot(median, height, "o", markersize=4.5, color=INK, markeredgecolor="white")
    axes.set_yticks(range(len(values)), [shortened(label) for label in reversed(values)])
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
