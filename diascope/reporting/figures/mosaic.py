"""Lay out examples in rows, each pixel as it is: small images enlarged by whole numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from diascope.reporting.figures.style import INK, SOFT_INK, shortened, styled

TILE_PX, GAP_PX, FRAME_PX = 100, 8, 3
LABEL_PX, LEGEND_PX, EDGE_PX = 176, 36, 8
DOTS_PER_INCH = 100
GROUND = (245, 247, 249)


@dataclass(frozen=True)
class Strip:
    """A row of a mosaic, or several that share a name; images are uint8 (H, W, 3), 0-255."""

    name: str
    note: str
    images: Sequence[NDArray[np.uint8]]
    classes: Sequence[str]


def tile(image: NDArray[np.uint8], size_px: int = TILE_PX) -> NDArray[np.uint8]:
    """Fit an image, uint8 (H, W, 3), into the middle of a light square; its shape is kept.

    A smaller image is enlarged by the largest whole number that fits; a larger one is reduced.

    Examples
    --------
    >>> tile(np.zeros((2, 3, 3), np.uint8), 8)[:, :, 0].tolist()[1:3]
    [[245, 245, 245, 245, 245, 245, 245, 245], [245, 0, 0, 0, 0, 0, 0, 245]]
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= size_px:
        times = size_px // longest
        shown = image.repeat(times, axis=0).repeat(times, axis=1)
    else:
        size = [max(1, round(side * size_px / longest)) for side in (width, height)]
        small = Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BILINEAR)
        shown = np.asarray(small)
    square = np.full((size_px, size_px, 3), GROUND, np.uint8)
    top, left = (size_px - shown.shape[0]) // 2, (size_px - shown.shape[1]) // 2
    square[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return square


def mosaic_figure(
    strips: Sequence[Strip],
    *,
    colours: Mapping[str, str],
    n_columns: int,
    has_frames: bool = False,
) -> Figure:
    """Draw strips of examples below each other, each marked with the colour of its class.

    Parameters
    ----------
    n_columns : int
        How many images stand in a row.
    has_frames : bool
        Frame each image in the colour of its class, below a legend: for strips of mixed classes.
    """
    step = TILE_PX + GAP_PX
    starts, n_rows = [], 0
    for strip in strips:
        starts.append(n_rows)
        n_rows += max(1, -(-len(strip.images) // n_columns))
    above = LEGEND_PX if has_frames else EDGE_PX
    height, width = above + n_rows * step + EDGE_PX, LABEL_PX + n_columns * step + EDGE_PX
    canvas = np.full((height, width, 3), 255, np.uint8)
    for start, strip in zip(starts, strips, strict=True):
        for number, (image, name) in enumerate(zip(strip.images, strip.classes, strict=True)):
            row, column = divmod(number, n_columns)
            top, left = above + (start + row) * step, LABEL_PX + column * step
            if has_frames:
                near, far = FRAME_PX, TILE_PX + FRAME_PX
                canvas[top - near : top + far, left - near : left + far] = _rgb(colours[name])
            canvas[top : top + TILE_PX, left : left + TILE_PX] = tile(image)
    with styled():
        figure = Figure(
            figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
            dpi=DOTS_PER_INCH,
        )
        figure.set_layout_engine("none")
        figure.figimage(canvas, origin="upper")
        for start, strip in zip(starts, strips, strict=True):
            top = 1 - (above + start * step) / height
            mark = None if has_frames or not strip.classes else colours[strip.classes[0]]
            _write_name(figure, strip, top=top, mark=mark)
        if has_frames:
            _draw_legend(figure, strips, colours)
    return figure


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in to_rgb(colour))


def _write_name(figure: Figure, strip: Strip, *, top: float, mark: str | None) -> None:
    width, height = figure.get_size_inches() * DOTS_PER_INCH
    left = EDGE_PX / width
    if mark is not None:
        bar = Rectangle((left, top - TILE_PX / height), 4 / width, TILE_PX / height, color=mark)
        figure.add_artist(bar)
    left += (12 if mark is not None else 0) / width
    name = "\n".join(_wrapped(shortened(strip.name, 60)))
    figure.text(left, top - 8 / height, name, va="top", size=9.5, weight="bold", color=INK)
    below = 8 + 17 * (name.count("\n") + 1)
    figure.text(left, top - below / height, strip.note, va="top", size=8, color=SOFT_INK)


def _wrapped(text: str, n_characters: int = 20) -> list[str]:
    """Break a long name into at most three lines, between words where there are any."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > n_characters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [shortened(line, n_characters) for line in lines[:3]]


def _draw_legend(figure: Figure, strips: Sequence[Strip], colours: Mapping[str, str]) -> None:
    present = {name for strip in strips for name in strip.classes}
    names = [name for name in colours if name in present]
    handles = [Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    labels = [shortened(name) for name in names]
    figure.legend(
        handles,
        labels,
        loc="upper left",
        borderaxespad=0.5,
        ncols=min(6, len(names)),
        handlelength=1,
    )
