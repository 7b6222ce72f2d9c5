"""The picture of a secondary capture: the source image, the heat map beside it, and the words.

Its ground is dark, as reading rooms are. Nothing that names the patient is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from diascope.bundle.card import Card
from diascope.bundle.map_verdicts import Finding
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import Prediction
from diascope.data.window import rule_words
from diascope.explanations.explained import MethodMap
from diascope.reporting.dicom.words import OF_DATES, algorithm_name
from diascope.reporting.explain.pictures import (
    colours_of,
    layer_over,
    number_text,
    over,
    steps_of,
)
from diascope.reporting.explain.words import (
    LEVEL_WORDS,
    METHOD_NAMES,
    ORDER,
    decision_text,
    headline,
    ood_text,
    percent,
    set_text,
    unit_of,
)
from diascope.reporting.figures.style import styled
from diascope.system.words import printable

WIDTH_PX, HEIGHT_PX, DOTS_PER_INCH = 1600, 900, 100
GROUND, PANEL, INK, SOFT, FAINT = "#0f1419", "#1a212a", "#f2f5f8", "#a9b4c0", "#2b343e"
AMBER, BLUE = "#ffb454", "#5cb3ff"
LEVELS = {"pass": "#63d297", "weak": AMBER, "fail": "#ff8078", "not tested": SOFT}
MOST_CLASSES = 8  # that have a bar
LEFT, TOP, SIDE = 0.4, 7.2, 5.2  # inches, of the first picture: its left, its top, its side
SECOND = LEFT + SIDE + 0.3
FLOOR = 1.3  # inches: where the foot begins
COLUMN, COLUMN_WIDTH = 11.95, 3.65  # inches, of the words


@dataclass(frozen=True)
class Capture:
    """What a secondary capture shows."""

    source: NDArray[np.uint8]  # (H, W, 3), 0-255: the image as decoded
    image: NDArray[np.uint8]  # (S, S, 3), 0-255: as the network sees it
    prediction: Prediction
    heat_map: MethodMap | None  # None where no method is possible, or the prediction is withheld
    target: int  # the class that the map explains


def draw_capture(capture: Capture, card: Card, point: NamedPoint | None) -> NDArray[np.uint8]:
    """Draw the picture: uint8 (`HEIGHT_PX`, `WIDTH_PX`, 3).

    Parameters
    ----------
    card : Card
        Of the bundle, at the operating point.
    point : NamedPoint, optional
        The operating point; None for a bundle without a positive class.
    """
    with styled():
        figure = Figure(
            (WIDTH_PX / DOTS_PER_INCH, HEIGHT_PX / DOTS_PER_INCH),
            dpi=DOTS_PER_INCH,
            facecolor=GROUND,
        )
        figure.set_layout_engine("none")
        page = _Page(figure)
        _head(page, capture.prediction, card)
        _source(page, capture.source)
        _map(page, capture, card)
        _words(page, capture.prediction, card)
        _foot(page, card, point)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


class _Page:
    """A figure that is drawn on in inches from its lower left."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.width, self.height = WIDTH_PX / DOTS_PER_INCH, HEIGHT_PX / DOTS_PER_INCH

    def text(self, x: float, y: float, text: str, size: float, colour: str, **style: Any) -> None:
        """Write one line, whose top is at ``y``."""
        placed: dict[str, Any] = {"va": "top", **style}
        shown = printable(text)
        self.figure.text(x / self.width, y / self.height, shown, size=size, color=colour, **placed)

    def paragraph(
        self, x: float, y: float, text: str, size: float, colour: str, width: float, floor: float
    ) -> float:
        """Write a text in lines of at most ``width``; return where the next one may begin.

        What would come below ``floor`` is left out, and dots say so.
        """
        step = size * 1.42 / 72
        lines = wrapped(printable(text), size, width)
        n_lines = max(0, int((y - floor) / step))
        if len(lines) > n_lines:
            last = lines[n_lines - 1].rpartition(" ")[0] if n_lines else ""
            lines = [*lines[: n_lines - 1], f"{last} …"] if n_lines else []
        for line in lines:
            self.text(x, y, line, size, colour)
            y -= step
        return y

    def picture(self, x: float, y: float, pixels: NDArray[np.uint8], side: float) -> None:
        """Draw pixels (H, W, 3) as large as a square allows, in its middle; ``y`` is its top."""
        height, width = pixels.shape[:2]
        scale = side / max(height, width)
        width, height = width * scale, height * scale
        x, y = x + (side - width) / 2, y - (side + height) / 2
        axes = self.figure.add_axes(
            (x / self.width, y / self.height, width / self.width, height / self.height)
        )
        axes.imshow(pixels, aspect="auto", interpolation="antialiased")
        axes.set_axis_off()

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle, whose lower left is given."""
        self.figure.add_artist(
            Rectangle(
                (x / self.width, y / self.height),
                width / self.width,
                height / self.height,
                facecolor=colour,
                edgecolor="none",
                zorder=-1,
                transform=self.figure.transFigure,
            )
        )


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Divide a text into lines of at most ``width`` inches; a word that is longer is cut.

    Call it inside `diascope.reporting.figures.style.styled`.
    """
    lines: list[str] = []
    line, used, space = "", 0.0, _inches("n n", size) - _inches("nn", size)
    for given in text.split():
        word = fitting(given, size, width)
        wide = _inches(word, size)
        if line and used + space + wide > width:
            lines.append(line)
            line, used = word, wide
        else:
            line, used = f"{line} {word}".strip(), used + bool(line) * space + wide
    return [*lines, line] if line else lines


def fitting(text: str, size: float, width: float, *, weight: str = "normal") -> str:
    """Return a text, cut at its end where it is wider than ``width`` inches."""
    if _inches(text, size, weight) <= width:
        return text
    n_kept = len(text)
    while n_kept and _inches(f"{text[:n_kept]}…", size, weight) > width:
        n_kept -= 1
    return f"{text[:n_kept].rstrip()}…"


@lru_cache(maxsize=4096)
def _inches(text: str, size: float, weight: str = "normal") -> float:
    font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
    as_designed = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72
    return 1.03 * as_designed  # letters on whole pixels are a little wider


def _head(page: _Page, prediction: Prediction, card: Card) -> None:
    is_called = not prediction.refer_reason
    call = headline(prediction, card) if is_called else "Indeterminate: refer to a person"
    call = "Prediction withheld: refer to a person" if prediction.is_withheld else call
    why = prediction.refer_reason or "class called by the network, and its probability"
    why = "out of distribution: unlike what the network knows" if prediction.is_withheld else why
    page.text(
        LEFT,
        8.62,
        fitting(printable(call), 25, 11.2, weight="bold"),
        25,
        INK if is_called else AMBER,
        weight="bold",
    )
    page.text(LEFT, 8.05, fitting(printable(why), 12.5, 11.2), 12.5, SOFT)
    page.box(COLUMN, 8.12, COLUMN_WIDTH, 0.46, AMBER)
    page.text(
        COLUMN + COLUMN_WIDTH / 2,
        8.345,
        "FOR RESEARCH USE ONLY",
        13.5,
        GROUND,
        weight="bold",
        ha="center",
        va="center_baseline",
    )
    page.box(LEFT, 7.72, page.width - 2 * LEFT, 0.012, FAINT)


def _source(page: _Page, source: NDArray[np.uint8]) -> None:
    height, width = source.shape[:2]
    page.text(LEFT, 7.52, "Source image", 12, INK, weight="bold")
    page.text(LEFT + SIDE, 7.5, f"{width} x {height} px", 10.5, SOFT, ha="right")
    page.box(LEFT, TOP - SIDE, SIDE, SIDE, PANEL)
    page.picture(LEFT, TOP, source, SIDE)


def _map(page: _Page, capture: Capture, card: Card) -> None:
    one = capture.heat_map
    page.box(SECOND, TOP - SIDE, SIDE, SIDE, PANEL)
    if one is None:
        page.text(SECOND, 7.52, "No heat map", 12, INK, weight="bold")
        why = (
            "The prediction is withheld, and nothing of it is explained."
            if capture.prediction.is_withheld
            else "No heat map method is possible with this network."
        )
        page.text(
            SECOND + SIDE / 2, TOP - SIDE / 2, why, 12, SOFT, ha="center", va="center_baseline"
        )
        return
    colours, highest = colours_of(one), float(one.heat_map.max())
    page.text(SECOND, 7.52, METHOD_NAMES[one.method], 12, INK, weight="bold")
    verdict = LEVEL_WORDS[one.level]
    page.text(SECOND + SIDE, 7.5, verdict, 10.5, LEVELS[one.level], ha="right", weight="bold")
    page.picture(SECOND, TOP, over(capture.image, layer_over(one.heat_map, colours)), SIDE)
    scale = steps_of(colours)[0][::-1, np.newaxis]
    left, width = SECOND + SIDE + 0.1, 0.13
    axes = page.figure.add_axes(
        (
            left / page.width,
            (TOP - SIDE) / page.height,
            width / page.width,
            SIDE / page.height,
        )
    )
    axes.imshow(scale, aspect="auto")
    axes.set_axis_off()
    page.text(left + width + 0.06, TOP, number_text(highest), 9.5, SOFT)
    page.text(left + width + 0.06, TOP - SIDE, "0", 9.5, SOFT, va="bottom")
    title = card.title_of(card.classes[capture.target])
    about = f"Evidence for {title}, in {unit_of(one.method)}s; {one.side} x {one.side} places."
    y, floor, width = TOP - SIDE - 0.12, FLOOR - 0.1, SIDE + 0.3
    y = page.paragraph(SECOND, y, about, 10.5, SOFT, width, floor)
    if worst := _of_this_image(one.findings):
        level, words = worst
        page.paragraph(SECOND, y, words, 10.5, LEVELS[level], width, floor)


def _of_this_image(findings: Sequence[Finding]) -> tuple[str, str] | None:
    """Return the worst level of a map's own checks, and its first finding in one short sentence."""
    worst = max(findings, key=lambda one: ORDER[one.level], default=None)
    if worst is None or worst.level == "pass":
        return None
    word = {"weak": "weak", "fail": "fails"}.get(worst.level, worst.level)
    sentence = worst.text.partition(". ")[0].partition(": ")[0].rstrip(".")
    return worst.level, f"On this image: {word}. {sentence}."


def _words(page: _Page, prediction: Prediction, card: Card) -> None:
    y = 7.52
    if not prediction.is_withheld:
        title = "Calibrated probabilities" if card.n_calibrated else "Probabilities, not calibrated"
        page.text(COLUMN, y, title, 12, INK, weight="bold")
        y = _bars(page, y - 0.36, prediction, card) - 0.12
    for text in (decision_text(prediction, card), ood_text(prediction), set_text(prediction, card)):
        if text:
            y = page.paragraph(COLUMN, y, text, 10.5, INK, COLUMN_WIDTH, FLOOR) - 0.12


def _bars(page: _Page, y: float, prediction: Prediction, card: Card) -> float:
    order = np.argsort(-prediction.probabilities, kind="stable")
    for index in order[:MOST_CLASSES]:
        value = float(prediction.probabilities[index])
        name = card.title_of(card.classes[index])
        page.text(COLUMN, y, fitting(printable(name), 10.5, COLUMN_WIDTH - 0.85), 10.5, INK)
        page.text(COLUMN + COLUMN_WIDTH, y, percent(value), 10.5, INK, ha="right")
        page.box(COLUMN, y - 0.27, COLUMN_WIDTH, 0.07, FAINT)
        page.box(COLUMN, y - 0.27, COLUMN_WIDTH * value, 0.07, BLUE)
        y -= 0.42
    if len(order) > MOST_CLASSES:
        rest = float(prediction.probabilities[order[MOST_CLASSES:]].sum())
        n_more = len(order) - MOST_CLASSES
        page.text(COLUMN, y, f"and {n_more} more, together {percent(rest)}", 10.5, SOFT)
        y -= 0.3
    return y


def _foot(page: _Page, card: Card, point: NamedPoint | None) -> None:
    page.box(LEFT, 1.18, page.width - 2 * LEFT, 0.012, FAINT)
    at = "" if point is None else f", operating point {point.name}"
    network = f"{algorithm_name(card)}, bundle {card.digest}{at}; grey values: "
    network += f"{rule_words(card.window)}."
    y = 1.02
    for text in (
        f"Made by a program, verified by nobody. {OF_DATES}",
        f"Network: {network}",
        f"Intended use: {card.intended_use}",
    ):
        y = page.paragraph(LEFT, y, text, 10, SOFT, page.width - 2 * LEFT, 0.2)
