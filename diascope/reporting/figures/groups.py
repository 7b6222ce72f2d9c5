"""Draw how a metric varies over the patients (or lesions, or slides): one dot per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from diascope.reporting.figures.style import INK, name_rows, panel, styled


def strip_figure(
    values: Mapping[str, Sequence[float]],
    *,
    n_images: Mapping[str, Sequence[int]],
    colours: Mapping[str, str],
    group_kind: str,
) -> Figure:
    """Draw one dot per group, its area by the number of images, with median and quartiles.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Per quantity (a row), the value of each group, 0-1.
    n_images : mapping of str to sequence of int
        Per quantity, the images behind each value.
    """
    rows = [name for name in values if len(values[name])]
    lowest = min(min(values[name]) for name in rows)
    low_end = max(0.0, min(0.8, np.floor(lowest * 10 - 0.2) / 10))
    with styled():
        figure, axes = panel(
            f"value within one {group_kind}", "", size_inches=(6.0, 0.7 + 0.95 * len(rows))
        )
        for height, name in enumerate(reversed(rows)):
            x = np.asarray(values[name], dtype=float)
            sizes = np.asarray(n_images[name], dtype=float)
            axes.scatter(
                x,
                height + _swarm((x - low_end) / (1 - low_end)),
                s=10 + 50 * sizes / sizes.max(),
                color=colours[name],
                alpha=0.5,
                linewidths=0,
            )
            low, median, high = np.quantile(x, [0.25, 0.5, 0.75])
            axes.plot([low, high], [height - 0.42] * 2, color=INK, linewidth=2)
            axes.plot(median, height - 0.42, marker="D", markersize=5, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        name_rows(axes, rows)
        axes.set_xlim(low_end - 0.01, 1 + 0.03 * (1 - low_end))
    return figure


def _swarm(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Spread dots of nearly equal value upwards and downwards, without chance, -0.3 to 0.3."""
    bins = np.round(x * 60).astype(int)
    offsets = np.zeros(len(x))
    for value in np.unique(bins):
        members = np.flatnonzero(bins == value)
        ranks = np.arange(len(members))
        offsets[members] = np.where(ranks % 2 == 0, 1, -1) * ((ranks + 1) // 2)
    widest = np.abs(offsets).max(initial=0)
    return offsets * min(0.07, 0.3 / widest if widest else 0.0)
