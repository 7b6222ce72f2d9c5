"""Pictures of explained images: heat maps side by side with the image, and grids of feature maps.

Heat maps are shown in viridis, whose lightness grows evenly and which colour-blind readers can
tell apart; the map of a method that failed its test in grey.
"""

from __future__ import annotations

import io
from functools import cache

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from diascope.explanations.explained import ExplainedImage, MethodMap
from diascope.explanations.feature_maps import Stage
from diascope.reporting.explain.words import LEVEL_WORDS, METHOD_NAMES, unit_of
from diascope.reporting.figures.style import INK, SOFT_INK, shortened, styled

COLOURS, GREYS = "viridis", "Greys_r"
OPACITY = 0.85  # of the largest value of a map over the image; of smaller ones less
MOST_MAPS = 32  # of a stage that are shown; of the first convolution all are
IN_A_ROW = 16
MOST_NAMED = 64  # maps of a grid; more are drawn at half the size, without their numbers
THUMBNAIL_PX = 72
LEVEL_COLOURS = {
    "pass": "#1d7a46",
    "weak": "#b56a00",
    "fail": "#a8201a",
    "not tested": SOFT_INK,
}
ON_ANY_GROUND = "#76818e"  # letters that can be read on white and on black
DOTS_PER_INCH, TILE_PX, GAP_PX, NUMBER_PX = 120, 64, 6, 16
WIDTH_INCHES, HEIGHT_INCHES, SIDE_INCHES = 9.6, 3.48, 2.88  # of a figure, and of its pictures


def colours_of(one: MethodMap) -> str:
    """Return the name of the colours of a map."""
    return GREYS if one.level == "fail" else COLOURS


@cache
def gradient(colours: str) -> str:
    """Return the colours, from the bottom up, as CSS can draw them."""
    shown = mpl.colormaps[colours](np.linspace(0, 1, 9))
    return ", ".join(to_hex(colour) for colour in shown)


def steps_of(colours: str) -> NDArray[np.uint8]:
    """Return the colours from the bottom up, uint8 (1, 256, 3)."""
    return coloured(np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis], colours)


def coloured(heat_map: NDArray[np.float32], colours: str) -> NDArray[np.uint8]:
    """Return a map (S, S) in colours, uint8 (S, S, 3), from 0 to its largest value."""
    highest = float(heat_map.max())
    scaled = heat_map / highest if highest > 0 else np.zeros_like(heat_map)
    return mpl.colormaps[colours](scaled, bytes=True)[..., :3]


def layer_over(heat_map: NDArray[np.float32], colours: str) -> NDArray[np.uint8]:
    """Return a map (S, S) in colours to lay over the image, uint8 (S, S, 4).

    Where there is no evidence the image can be seen as it is.
    """
    highest = float(heat_map.max())
    scaled = heat_map / highest if highest > 0 else np.zeros_like(heat_map)
    opacity = np.round(255 * np.sqrt(scaled)).astype(np.uint8)
    return np.dstack([coloured(heat_map, colours), opacity])


def over(image: NDArray[np.uint8], layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay colours, uint8 (S, S, 4), over an image, uint8 (S, S, 3)."""
    opacity = OPACITY * layer[..., 3:].astype(np.float32) / 255
    return np.round((1 - opacity) * image + opacity * layer[..., :3]).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image, uint8 (H, W, 3) or (H, W, 4), as a PNG file without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def thumbnail(image: NDArray[np.uint8]) -> bytes:
    """Return a small picture of an image as a PNG file."""
    side = min(THUMBNAIL_PX, image.shape[0])
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return png(np.asarray(small))


def method_figure(explained: ExplainedImage, one: MethodMap, *, class_title: str) -> Figure:
    """Draw the image, the map over it, and the map with its scale, side by side.

    Above stand the method, the class, and the verdict, so that the picture never stands alone.
    """
    colours = colours_of(one)
    pictures = {
        "input of the network": explained.image,
        "map over the input": over(explained.image, layer_over(one.heat_map, colours)),
        "map": coloured(one.heat_map, colours),
    }
    highest = float(one.heat_map.max())
    width, height = SIDE_INCHES / WIDTH_INCHES, SIDE_INCHES / HEIGHT_INCHES
    about = f"for {shortened(class_title)}, {one.side} x {one.side} places, in {_unit(one)}"
    with styled():
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES))
        figure.set_layout_engine("none")
        for number, (title, picture) in enumerate(pictures.items()):
            axes = figure.add_axes((0.01 + 0.31 * number, 0.025, width, height))
            axes.imshow(picture, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(title, size=8.5, color=SOFT_INK, pad=4, loc="left")
        scale = figure.add_axes((0.938, 0.025, 0.013, height))
        scale.imshow(steps_of(colours).swapaxes(0, 1), aspect="auto", origin="lower")
        scale.set_axis_off()
        ends = {0.025: ("0", "bottom"), 0.025 + height: (number_text(highest), "top")}
        for y, (text, side) in ends.items():
            figure.text(0.956, y, text, size=8, color=SOFT_INK, va=side)
        name = METHOD_NAMES[one.method]
        figure.text(0.01, 0.972, name, size=11, weight="bold", color=INK, va="top")
        figure.text(0.225, 0.968, about, size=9, color=SOFT_INK, va="top")
        style = {"size": 9.5, "weight": "bold", "color": LEVEL_COLOURS[one.level]}
        figure.text(0.93, 0.968, LEVEL_WORDS[one.level], va="top", ha="right", **style)
    return figure


def _unit(one: MethodMap) -> str:
    return "parts of 1" if unit_of(one.method) != "logit" else "units of the logit"


def number_text(value: float) -> str:
    """Return the end of a scale with two digits that count.

    Examples
    --------
    >>> number_text(0.01234), number_text(12.4), number_text(3.0)
    ('0.012', '12', '3')
    """
    return f"{value:.2g}"


def shown_maps(stage: Stage) -> int:
    """Return how many of the maps of a stage are shown."""
    n_maps = len(stage.maps)
    return n_maps if stage.is_first else min(n_maps, MOST_MAPS)


def stage_figure(stage: Stage) -> Figure:
    """Draw the feature maps of a stage in a grid, each with the number of its channel.

    Each map has its own scale. The ground is transparent, and the letters can be read on white and
    on black.
    """
    n_maps = shown_maps(stage)
    is_named = n_maps <= MOST_NAMED
    tile_px, in_a_row = (TILE_PX, IN_A_ROW) if is_named else (TILE_PX // 2, 2 * IN_A_ROW)
    step_x, step_y = tile_px + GAP_PX, tile_px + GAP_PX + (NUMBER_PX if is_named else 0)
    n_columns, n_rows = min(in_a_row, n_maps), -(-n_maps // in_a_row)
    width, height = n_columns * step_x - GAP_PX, n_rows * step_y
    canvas = np.zeros((height, width, 4), np.uint8)
    corners = [
        (number // in_a_row * step_y, number % in_a_row * step_x) for number in range(n_maps)
    ]
    for (top, left), one in zip(corners, stage.maps, strict=False):
        canvas[top : top + tile_px, left : left + tile_px] = tile(one, tile_px)
    with styled():
        figure = Figure(
            figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
            dpi=DOTS_PER_INCH,
            facecolor="none",
        )
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(canvas, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        style = {"size": 7, "color": ON_ANY_GROUND, "ha": "center", "va": "top"}
        for (top, left), channel in zip(corners if is_named else (), stage.channels, strict=False):
            x, y = (left + tile_px / 2) / width, 1 - (top + tile_px + 2) / height
            figure.text(x, y, str(channel), **style)
    return figure


def tile(one: NDArray[np.float32], size_px: int) -> NDArray[np.uint8]:
    """Return a map (H, W) in colours on its own scale, uint8 (size, size, 4)."""
    low, span = float(one.min()), float(np.ptp(one)) or 1.0
    picture = mpl.colormaps[COLOURS]((one - low) / span, bytes=True)
    is_larger = max(one.shape) > size_px
    resample = Image.Resampling.BOX if is_larger else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((size_px, size_px), resample))
