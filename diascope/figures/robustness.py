"""Draw what each corruption costs: three points with their intervals a row, mildest on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from diascope.figures.style import INK, SOFT_INK, styled

SHADES = ("#9cc4de", "#3d8fc4", "#0b4a78")
STRENGTHS = ("mild", "middle", "strong")
SPREAD = 0.24  # of a row, between two strengths


def robustness_figure(rows: Sequence[Mapping[str, Any]], *, measures: Mapping[str, str]) -> Figure:
    """Draw changes, a panel a measure, a row a corruption.

    Parameters
    ----------
    rows : sequence of mapping
        ``corruption`` and ``changes`` (an estimate by the name of the measure), the strengths of a
        corruption one after another, the mildest first.
    measures : mapping of str to str
        What is drawn: key and name.
    """
    names = list(dict.fromkeys(str(row["corruption"]) for row in rows))
    with styled():
        figure = Figure(figsize=(9.4, 1.0 + 0.36 * len(names)))
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, (key, label) in zip(panels, measures.items(), strict=True):
            axes.axvline(0, color=SOFT_INK, linewidth=1)
            for number, name in enumerate(names):
                of_name = [row["changes"][key] for row in rows if row["corruption"] == name]
                for level, change in enumerate(of_name):
                    height = len(names) - 1 - number + SPREAD * (1 - level)
                    _draw(axes, change, height, level)
            axes.set_xlabel(f"change of {label}")
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
        panels[0].set_yticks(range(len(names)), names[::-1])
        for level, strength in enumerate(STRENGTHS):
            panels[-1].plot([], [], marker="o", color=SHADES[level], label=strength)
        figure.legend(loc="outside upper right", ncols=len(STRENGTHS))
    return figure


def _draw(axes: Any, change: Mapping[str, Any], height: float, level: int) -> None:
    if change["value"] is None:
        return
    if change["low"] is not None:
        ends = [change["low"], change["high"]]
        axes.plot(ends, [height] * 2, color=SHADES[level], linewidth=2)
    axes.plot(change["value"], height, marker="o", markersize=4.5, color=SHADES[level])
