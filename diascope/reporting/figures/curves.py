"""Draw ROC and precision-recall curves, and the rates against the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diascope.metrics.curves import Curves
from diascope.reporting.figures.style import (
    DASHED,
    DOTTED,
    HALF_PAGE,
    INK,
    LINES,
    SOFT_INK,
    panel,
    shortened,
    styled,
)

GRID_POINTS = np.linspace(0, 1, 501)


@dataclass(frozen=True)
class OperatingPoint:
    """Where the classifier is used: a threshold on the probability, and what it does there."""

    threshold: float
    tpr: float
    fpr: float


def roc_figure(
    ranked: Mapping[str, Sequence[Curves]],
    *,
    colours: Mapping[str, str],
    operating_point: OperatingPoint | None = None,
) -> Figure:
    """Draw the receiver operating characteristic of every class.

    With several folds, a thin line is a fold and the thick one their mean at equal false positive
    rate (Fawcett 2006, doi:10.1016/j.patrec.2005.10.010, "vertical averaging").

    Parameters
    ----------
    ranked : mapping of str to sequence of Curves
        Per class, the curves of each fold.
    """
    with styled():
        figure, axes = panel("false positive rate (1 - specificity)", "sensitivity")
        axes.plot([0, 1], [0, 1], color=SOFT_INK, linewidth=1, linestyle=DOTTED)
        for index, (name, folds) in enumerate(ranked.items()):
            thick = {"color": colours[name], "linestyle": LINES[index % len(LINES)]}
            if len(folds) == 1:
                axes.plot(folds[0].roc_fpr, folds[0].roc_tpr, **thick, label=shortened(name))
            elif folds:
                for curves in folds:
                    thin = {"color": colours[name], "linewidth": 0.8, "alpha": 0.4}
                    axes.plot(curves.roc_fpr, curves.roc_tpr, **thin)
                mean = np.mean([np.interp(GRID_POINTS, c.roc_fpr, c.roc_tpr) for c in folds], 0)
                label = f"{shortened(name)} (mean of {len(folds)} folds)"
                axes.plot([0, *GRID_POINTS], [0, *mean], **thick, label=label)
        if operating_point is not None:
            _mark_operating_point(axes, operating_point)
        _square(axes)
        axes.legend(loc="lower right", **_legend_size(len(ranked)))
    return figure


def _mark_operating_point(axes: Axes, point: OperatingPoint) -> None:
    place = point.fpr, point.tpr
    axes.plot(*place, marker="o", markersize=7, color=INK, markeredgecolor="white")
    axes.annotate(
        f"threshold {point.threshold:.3g}",
        place,
        xytext=(10, -12),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
    )


def precision_recall_figure(
    ranked: Mapping[str, Sequence[Curves]],
    *,
    colours: Mapping[str, str],
    prevalence: float | None = None,
) -> Figure:
    """Draw precision against sensitivity, with the prevalence that guessing would reach.

    With several folds, every fold is a line of its own: their mean is not drawn, because precision
    cannot be interpolated linearly (Davis & Goadrich 2006, doi:10.1145/1143844.1143874).

    Parameters
    ----------
    ranked : mapping of str to sequence of Curves
        Per class, the curves of each fold.
    """
    with styled():
        figure, axes = panel("sensitivity (recall)", "precision (PPV)")
        for index, (name, folds) in enumerate(ranked.items()):
            for number, curves in enumerate(folds):
                axes.plot(
                    curves.pr_recall,
                    curves.pr_precision,
                    color=colours[name],
                    linestyle=LINES[index % len(LINES)],
                    linewidth=1.8 if len(folds) == 1 else 0.9,
                    alpha=1.0 if len(folds) == 1 else 0.6,
                    label=shortened(name) if number == 0 else None,
                )
        if prevalence is not None:
            axes.axhline(prevalence, color=SOFT_INK, linewidth=1, linestyle=DOTTED)
            axes.annotate(
                f"prevalence {prevalence:.3f}",
                (0.02, prevalence),
                xytext=(0, 3 if prevalence < 0.9 else -11),
                textcoords="offset points",
                fontsize=8.5,
                color=SOFT_INK,
            )
        _square(axes)
        axes.legend(loc="lower left", **_legend_size(len(ranked)))
    return figure


def rates_figure(
    curves: Curves,
    *,
    positive_colour: str,
    negative_colour: str,
    operating_point: OperatingPoint | None = None,
    size_inches: tuple[float, float] = HALF_PAGE,
) -> Figure:
    """Draw the true and the false positive rate against the threshold, over all images.

    Parameters
    ----------
    positive_colour, negative_colour : str
        The colours of the images that true and false positives come from.
    """
    with styled():
        figure, axes = panel("threshold on the probability", "rate", size_inches=size_inches)
        rates = (
            ("true positive rate", curves.tpr, positive_colour, LINES[0]),
            ("false positive rate", curves.fpr, negative_colour, LINES[1]),
        )
        for name, rate, colour, line in rates:
            axes.plot(curves.threshold, rate, color=colour, linestyle=line, label=name)
        if operating_point is not None:
            threshold = operating_point.threshold
            axes.axvline(threshold, color=SOFT_INK, linewidth=1, linestyle=DASHED)
            _mark_rate(axes, (threshold, operating_point.tpr), positive_colour)
            _mark_rate(axes, (threshold, operating_point.fpr), negative_colour)
        _square(axes)
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def _mark_rate(axes: Axes, place: tuple[float, float], colour: str) -> None:
    axes.plot(*place, marker="o", markersize=6, color=colour, markeredgecolor="white")
    axes.annotate(
        f"{place[1]:.3f}",
        place,
        xytext=(7, -14 if place[1] > 0.5 else 6),
        textcoords="offset points",
        fontsize=8.5,
        color=colour,
    )


def _square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.02, 1.03)


def _legend_size(n_curves: int) -> dict[str, float]:
    return {} if n_curves <= 5 else {"ncols": 2, "fontsize": 7.5}
