"""Draw how scores and properties of the images are distributed in each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from diascope.reporting.figures.style import (
    DASHED,
    HALF_PAGE,
    INK,
    LINES,
    SOFT_INK,
    count_on_log_scale,
    name_rows,
    panel,
    shortened,
    styled,
)

N_BINS = 40
MOST_OUTLINES = 4


def score_histogram(
    scores: Mapping[str, NDArray[np.floating]],
    *,
    colours: Mapping[str, str],
    score_name: str,
    threshold: float | None = None,
    size_inches: tuple[float, float] = HALF_PAGE,
) -> Figure:
    """Draw the number of images by score, 0-1, an outline a true class, on a logarithmic scale."""
    edges = np.linspace(0, 1, N_BINS + 1)
    with styled():
        figure, axes = panel(score_name, "images (log scale)", size_inches=size_inches)
        highest = 1
        for index, (name, values) in enumerate(scores.items()):
            counts, _ = np.histogram(np.clip(values, 0, 1), bins=edges)
            highest = max(highest, int(counts.max(initial=0)))
            heights = np.maximum(counts, 0.5)  # an empty bin lies just below one image
            _draw_outline(axes, heights, edges, colours[name], index, name, baseline=0.5)
        if threshold is not None:
            axes.axvline(threshold, color=SOFT_INK, linewidth=1.2, linestyle=DASHED)
        count_on_log_scale(axes, highest * 2)
        axes.set_xlim(0, 1)
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def distribution_figure(
    values: Mapping[str, NDArray[np.floating]], *, colours: Mapping[str, str], name: str
) -> Figure:
    """Draw a property: outlines of up to four classes, or one row per class.

    Parameters
    ----------
    values : mapping of str to float (N_k,)
        The property of the images of each class; at least one class has some.
    name : str
        What the property is, with its unit, for the axis.
    """
    present = {label: numbers for label, numbers in values.items() if len(numbers)}
    with styled():
        if len(present) <= MOST_OUTLINES:
            figure, axes = panel(name, "fraction of the images of a class")
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
        fractions = np.histogram(np.clip(numbers, *edges[[0, -1]]), bins=edges)[0] / len(numbers)
        highest = max(highest, float(fractions.max()))
        _draw_outline(axes, fractions, edges, colours[label], index, label)
    axes.set_ylim(0, 1.05 * highest)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))


def _draw_outline(
    axes: Axes,
    heights: NDArray[np.floating],
    edges: NDArray[np.floating],
    colour: str,
    index: int,
    name: str,
    *,
    baseline: float = 0.0,
) -> None:
    shape = {"baseline": baseline, "color": colour}
    line = LINES[index % len(LINES)]
    axes.stairs(heights, edges, **shape, fill=True, alpha=0.18, linewidth=0)
    axes.stairs(heights, edges, **shape, linestyle=line, linewidth=1.6, label=shortened(name))


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
    name_rows(axes, [shortened(label) for label in values])
