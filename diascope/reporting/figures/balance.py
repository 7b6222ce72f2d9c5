"""Draw how many images the classes and the groups have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from diascope.reporting.figures.style import (
    INK,
    PALETTE,
    SOFT_INK,
    WIDE_INCHES,
    count_on_log_scale,
    panel,
    shortened,
    styled,
)
from diascope.system.words import plural

MOST_BARS, MOST_NUMBERS = 80, 15
SPLIT_COLOURS = ("#9aa5b1", PALETTE[0], PALETTE[4])


def balance_figure(counts: Mapping[str, Mapping[str, int]], *, totals: Mapping[str, int]) -> Figure:
    """Draw the fraction of each class in each split, with the number of images.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        Per class, the images in each split.
    totals : mapping of str to int
        All images of each split, those of classes that are not drawn too.
    """
    splits = [name for name in totals if totals[name]]
    with styled():
        bar = min(0.27, 0.8 / len(splits))
        height = 0.9 + len(counts) * (0.22 + 0.2 * len(splits))
        figure, axes = panel("fraction of the split", "", size_inches=(WIDE_INCHES, height))
        highest = 0.0
        for number, split in enumerate(splits):
            fractions = [counts[label].get(split, 0) / totals[split] for label in counts]
            places = np.arange(len(counts)) + (number - (len(splits) - 1) / 2) * bar
            colour = SPLIT_COLOURS[number]
            text = f"{split}: {totals[split]:,} images"
            axes.barh(places, fractions, height=0.92 * bar, color=colour, label=text)
            highest = max(highest, *fractions)
            for place, fraction, label in zip(places, fractions, counts, strict=True):
                text = f"{counts[label].get(split, 0):,}"
                spot = {"xytext": (4, 0), "textcoords": "offset points"}
                look = {"va": "center", "size": 7.5, "color": SOFT_INK}
                axes.annotate(text, (fraction, place), **spot, **look)
        axes.set_yticks(range(len(counts)), [shortened(label, 30) for label in counts])
        axes.set_ylim(len(counts) - 0.45, -0.55)
        axes.set_xlim(0, 1.12 * highest)
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def group_sizes_figure(
    counts: NDArray[np.integer],
    *,
    classes: Sequence[str],
    colours: Mapping[str, str],
    group_kind: str,
) -> Figure:
    """Draw how many images the groups have: a bar a group, or of many groups their distribution.

    Parameters
    ----------
    counts : int (G, K)
        Images of each group and class.
    """
    if len(counts) > MOST_BARS:
        return _distribution(counts.sum(axis=1), group_kind)
    order = np.lexsort((*counts.T[::-1], -counts.sum(axis=1)))
    height = 3.0 + 0.18 * -(-len(classes) // 4)
    with styled():
        figure, axes = panel(
            f"{group_kind}, by number of images", "images", size_inches=(WIDE_INCHES, height)
        )
        bottom = np.zeros(len(counts))
        for number, label in enumerate(classes):
            heights = counts[order, number]
            if heights.any():
                places = np.arange(len(counts)) + 1
                colour, text = colours[label], shortened(label)
                axes.bar(places, heights, bottom=bottom, width=0.85, color=colour, label=text)
            bottom += heights
        axes.set_xlim(0.2, len(counts) + 0.8)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper left", ncols=4)
    return figure


def _distribution(sizes: NDArray[np.integer], group_kind: str) -> Figure:
    step = max(1, -(-int(sizes.max()) // 60))
    edges = np.arange(1, sizes.max() + step + 1, step) - 0.5
    found, _ = np.histogram(sizes, bins=edges)
    with styled():
        figure, axes = panel(
            f"images of one {group_kind}",
            f"{plural(group_kind)} (log scale)",
            size_inches=(WIDE_INCHES, 3.2),
        )
        middles = (edges[:-1] + edges[1:]) / 2
        heights = np.maximum(found, 0.5) - 0.5  # an empty bin lies just below one group
        axes.bar(middles, heights, bottom=0.5, width=0.9 * step, color=PALETTE[0])
        count_on_log_scale(axes, 2.5 * found.max())
        axes.set_xlim(edges[0], edges[-1])
        if len(found) <= MOST_NUMBERS:
            for middle, count in zip(middles.tolist(), found.tolist(), strict=True):
                spot = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{count:,}", (middle, max(count, 0.5)), **spot, size=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
    return figure
