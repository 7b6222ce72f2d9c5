"""Draw the distribution of the scores, one outline a class, on a logarithmic count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from diascope.figures.style import HALF_PAGE, LINES, SOFT_INK, panel, shortened, styled

N_BINS = 40


def score_histogram(
    scores: Mapping[str, NDArray[np.floating]],
    *,
    colours: Mapping[str, str],
    score_name: str,
    threshold: float | None = None,
    size_inches: tuple[float, float] = HALF_PAGE,
) -> Figure:
    """Draw how many images of each class got which score.

    Parameters
    ----------
    scores : mapping of str to float (N_k,)
        The scores, 0-1, of the images of each true class.
    colours : mapping of str to str
        One colour a class.
    score_name : str
        What the score is, for the axis.
    threshold : float, optional
        The operating point, marked by a line.
    size_inches : tuple of float
        Width and height.
    """
    edges = np.linspace(0, 1, N_BINS + 1)
    with styled():
        figure, axes = panel(score_name, "images (log scale)", size_inches=size_inches)
        highest = 1
        for index, (name, values) in enumerate(scores.items()):
            counts, _ = np.histogram(np.clip(values, 0, 1), bins=edges)
            highest = max(highest, int(counts.max(initial=0)))
            drawn = np.maximum(counts, 0.5)  # an empty bin lies just below one image
            axes.stairs(
                drawn, edges, baseline=0.5, fill=True, color=colours[name], alpha=0.18, linewidth=0
            )
            axes.stairs(
                drawn,
                edges,
                baseline=0.5,
                color=colours[name],
                linestyle=LINES[index % len(LINES)],
                linewidth=1.6,
                label=shortened(name),
            )
        if threshold is not None:
            axes.axvline(threshold, color=SOFT_INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_yscale("log")
        axes.set_ylim(0.5, highest * 2)
        axes.set_xlim(0, 1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        figure.legend(loc="outside upper left", ncols=2)
    return figure
