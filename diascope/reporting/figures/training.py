"""Draw the curves of a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diascope.reporting.figures.style import LINES, PALETTE, THIRD_OF_PAGE, panel, styled


def training_figure(
    epochs: Sequence[Mapping[str, float | None]],
    *,
    series: Mapping[str, str],
    y_label: str,
) -> Figure:
    """Draw quantities of the training log against the epoch.

    With several networks (folds, members of an ensemble), a thin line is one of them and the thick
    one the mean of those that reached the epoch.

    Parameters
    ----------
    epochs : sequence of mapping
        The log's epoch events, each with ``fold``, ``member``, ``epoch`` and the quantities.
    series : mapping of str to str
        Which quantities to draw, and what to call each.
    """
    networks = sorted({_network(event) for event in epochs})
    with styled():
        figure, axes = panel("epoch", y_label, size_inches=THIRD_OF_PAGE)
        for index, (quantity, name) in enumerate(series.items()):
            colour, line = PALETTE[index], LINES[index]
            curves = [_curve(epochs, network, quantity) for network in networks]
            for curve in curves if len(networks) > 1 else ():
                axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.8, alpha=0.4)
            every = sorted({epoch for curve in curves for epoch in curve})
            means = [
                float(np.mean([curve[epoch] for curve in curves if epoch in curve]))
                for epoch in every
            ]
            marker = "o" if len(every) < 2 else None
            axes.plot(every, means, color=colour, linestyle=line, label=name, marker=marker)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(series) > 1:
            axes.legend(loc="best")
    return figure


def _network(event: Mapping[str, float | None]) -> tuple[int, int]:
    """Return which network an event is of: its fold and its place in an ensemble."""
    return int(event.get("fold") or 0), int(event.get("member") or 0)


def _curve(
    epochs: Sequence[Mapping[str, float | None]], network: tuple[int, int], quantity: str
) -> dict[float, float]:
    curve = {}
    for event in epochs:
        value = event.get(quantity)
        if _network(event) == network and value is not None:
            curve[float(event["epoch"] or 0)] = float(value)
    return curve
