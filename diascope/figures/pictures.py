"""Turn images and feature maps into pictures of a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from diascope.figures.style import styled

N_MAPS = 32
N_COLUMNS = 8


def image_uri(image: NDArray[np.uint8]) -> str:
    """Return one image as a ``data:image/png`` URI, without any metadata.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        Colours, 0-255.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def feature_map_figure(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> Figure:
    """Draw the input and up to 32 feature maps, each on a grey scale of its own.

    Parameters
    ----------
    image : uint8 (S, S, 3)
        What the network saw, before normalisation.
    maps : float32 (C, H, W)
        The layer's answer to it; the first 32 are drawn.
    """
    n_drawn = min(len(maps), N_MAPS)
    n_rows = -(-n_drawn // N_COLUMNS)
    input_columns = max(2, min(n_rows, 4))
    n_columns = N_COLUMNS + input_columns
    with styled():
        figure = Figure(figsize=(8.4, 8.4 / n_columns * max(n_rows, input_columns) + 0.25))
        grid = figure.add_gridspec(max(n_rows, input_columns), n_columns, wspace=0.02, hspace=0.02)
        shown = figure.add_subplot(grid[:input_columns, :input_columns])
        shown.imshow(image, interpolation="nearest")
        shown.set_title("input")
        shown.set_axis_off()
        for index in range(n_drawn):
            row, column = divmod(index, N_COLUMNS)
            axes = figure.add_subplot(grid[row, input_columns + column])
            axes.imshow(maps[index], cmap="gray", interpolation="nearest")
            axes.set_axis_off()
            if index == 0:
                axes.set_title(f"first {n_drawn} of {len(maps)} maps")
    return figure
