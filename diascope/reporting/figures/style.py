"""Keep colours, sizes and fonts in one place, and turn figures into files and data URIs."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullFormatter

from diascope.system.words import printable

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, SOFT_INK, GRID = "#1c2430", "#5b6675", "#e3e7ec"
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#b5548c",
    "#e69f00",
    "#3d9bd1",
    "#7b2d3b",
    "#7a7300",
)
"""Colours that colour-blind readers can tell apart, after Okabe & Ito (2008), darker for print."""
LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
DOTTED, DASHED = (0, (2, 3)), (0, (4, 2))
WIDE_INCHES = 9.4
HALF_PAGE, THIRD_OF_PAGE = (4.6, 3.2), (3.5, 2.7)
"""Width and height in inches of figures that stand two and three in a row."""

SETTINGS: dict[RcKeyType, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": SOFT_INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT_INK,
    "ytick.color": SOFT_INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "diascope",
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the look of the report to the figures that are made or saved inside.

    Letters that the font lacks are drawn as boxes, without a word: the texts beside have them.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def panel(
    x_label: str, y_label: str, *, size_inches: tuple[float, float] = HALF_PAGE
) -> tuple[Figure, Axes]:
    """Make a figure with one plot; call it inside `styled`."""
    figure = Figure(figsize=size_inches)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names beside rows at the heights 0, 1 and so on, the first name on top."""
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)


def count_on_log_scale(axes: Axes, highest: float) -> None:
    """Make the vertical axis one of counts, from just below 1."""
    axes.set_yscale("log")
    axes.set_ylim(0.5, highest)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return one colour a class, the same in every figure and table of a report.

    Examples
    --------
    >>> class_colours(["uninfected", "parasitized"])
    {'uninfected': '#0072b2', 'parasitized': '#d55e00'}
    """
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(classes)}


def shortened(text: str, n_characters: int = 27) -> str:
    """Cut a long name in the middle, for a legend or an axis.

    Examples
    --------
    >>> shortened("squamous cell carcinoma in situ", 15)
    'squamou…in situ'
    """
    if len(text) <= n_characters:
        return text
    head = (n_characters - 1) // 2
    return f"{text[:head]}…{text[head + 1 - n_characters :]}"


def figure_to_svg(figure: Figure) -> str:
    """Return the figure as a ``data:image/svg+xml`` URI of `figure_to_svg_text`."""
    encoded = base64.b64encode(figure_to_svg_text(figure).encode()).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"


def figure_to_svg_text(figure: Figure) -> str:
    """Return the figure as the text of an SVG file, the same bytes every time.

    Letters are drawn as outlines, so that the figure looks the same on every machine, and inside
    an ``<img>`` no identifier of one figure can meet that of another.
    """
    with styled():
        _escape_texts(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _escape_texts(figure: Figure) -> None:
    """Put escapes in place of control characters, which no font can draw."""
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_text("\n".join(map(printable, text.get_text().split("\n"))))


def figure_to_png(figure: Figure, *, dots_per_inch: int) -> bytes:
    """Return the figure as a PNG file without a date, the same bytes every time."""
    with styled():
        _escape_texts(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()
