"""Cues: what an image gives away apart from its content, each as the features of a probe.

Shortcuts of this kind have made networks look good that had learned the hospital's marker or the
dermatologist's ruler: Zech et al. 2018, PLoS Medicine 15:e1002683; Winkler et al. 2019, JAMA
Dermatology 155:1135-1141; Geirhos et al. 2020, Nature Machine Intelligence 2:665-673.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.audit.measure import SIDE_PX, Measures
from diascope.data.manifest import metadata_columns

BLOCK_PX = 4  # of the small copy; its outermost blocks are the border
PLAIN_TOLERANCE = 12  # grey levels by which a plain background may vary
PLAIN_FRACTION = 0.02  # of an image, to count as a plain background
FEWEST_PLAIN = 0.1  # of the images, for silhouettes to be worth a probe
COARSE_COLOURS, LEVELS = 4, 32
MOST_COLUMNS, MOST_VALUES = 20, 30  # of metadata; and of one column's texts


@dataclass(frozen=True)
class Cue:
    """One cue of N images."""

    name: str  # in one or two words
    what: str  # what the probe sees, in a sentence
    features: NDArray[np.float32]  # (N, D)
    unusable: str = ""  # why it cannot be probed; empty where it can


def image_cues(measures: Measures) -> list[Cue]:
    """Return the cues that lie in the image files themselves."""
    values = {name: measures.values[name].to_numpy() for name in measures.values.columns}
    area = values["width_px"] * values["height_px"]
    shape = np.log(values["width_px"] / values["height_px"])
    small = measures.small
    cues = [
        ("image size", "Width and height in pixels, and nothing else.", (np.log(area), shape)),
        (
            "file",
            "Bytes of the file, bytes a pixel, format, JPEG quality, and the blocks that JPEG "
            "leaves behind.",
            (
                np.log(values["n_bytes"]),
                np.log(values["n_bytes"] / area),
                values["is_jpeg"],
                np.log1p(values["jpeg_table"]),
                values["blockiness"],
            ),
        ),
        (
            "light",
            "Mean and spread of the brightness, and the fractions of black and of white pixels.",
            tuple(values[name] for name in ("luminance", "contrast", "black", "white")),
        ),
        (
            "sharpness",
            "How sharp or blurred the image is: one number for steps, one for their fineness.",
            (np.log(values["sharpness"] + 0.1), values["fineness"]),
        ),
        ("mean colour", "Mean red, green and blue of the image.", small.mean((1, 2)).T),
    ]
    found = [
        Cue(name, what, np.stack(columns, axis=1).astype(np.float32))
        for name, what, columns in cues
    ]
    return [
        *found,
        Cue(
            "colour histogram",
            "How much there is of each colour, and not where: 64 colours and 32 levels a channel.",
            colour_histograms(small),
        ),
        Cue(
            "border",
            "The outermost sixteenth on each side: frames, corner marks, rulers, background.",
            border(small),
        ),
        _silhouette_cue(small),
    ]


def colour_histograms(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Count 4 x 4 x 4 colours and 32 levels a channel of images, uint8 (N, S, S, 3), 0-255.

    Returns
    -------
    float32 (N, 160), 0-1
        Square roots of fractions, so that rare colours count too.
    """
    n_colours = COARSE_COLOURS**3
    rows = np.empty((len(small), n_colours + 3 * LEVELS), np.float32)
    for number, image in enumerate(small):
        coarse = (image // (256 // COARSE_COLOURS)).astype(np.int64)
        colour = (coarse[..., 0] * COARSE_COLOURS + coarse[..., 1]) * COARSE_COLOURS
        colour += coarse[..., 2]
        levels = (image // (256 // LEVELS)).reshape(-1, 3)
        rows[number] = np.concatenate(
            [
                np.bincount(colour.ravel(), minlength=n_colours),
                *(np.bincount(levels[:, channel], minlength=LEVELS) for channel in range(3)),
            ]
        )
    return np.sqrt(rows / (SIDE_PX * SIDE_PX))


def border(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe the blocks of 4 x 4 px along the edge by mean colour and spread.

    Of images of 64 px, uint8 (N, 64, 64, 3), 0-255: 60 blocks, float32 (N, 240). What lies further
    inside does not count.
    """
    n = SIDE_PX // BLOCK_PX
    is_edge = np.ones((n, n), bool)
    is_edge[1:-1, 1:-1] = False
    blocks = small.reshape(-1, n, BLOCK_PX, n, BLOCK_PX, 3).swapaxes(2, 3)
    edge = blocks[:, is_edge].reshape(len(small), int(is_edge.sum()), BLOCK_PX**2, 3)
    means = edge.mean(axis=2, dtype=np.float32)
    spread = edge.std(axis=2, dtype=np.float32).mean(axis=2)
    return np.concatenate([means.reshape(len(small), -1), spread], axis=1)


def silhouettes(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark what is not plain background.

    The background is the median colour of the four corners, where at least three of them have it.
    Of images uint8 (N, S, S, 3), 0-255, the result is bool (N, S, S): True all over where there is
    no plain background.
    """
    corners = small[:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(np.int16)
    ground = np.median(corners, axis=1).astype(np.int16)
    is_near = (np.abs(corners - ground[:, None]) <= PLAIN_TOLERANCE).all(axis=2).sum(axis=1) >= 3
    shown = np.empty(small.shape[:3], bool)
    for number, image in enumerate(small):
        shown[number] = (np.abs(image - ground[number]) > PLAIN_TOLERANCE).any(axis=2)
    has_ground = is_near & (1 - shown.mean(axis=(1, 2)) >= PLAIN_FRACTION)
    return shown | ~has_ground[:, None, None]


def _silhouette_cue(small: NDArray[np.uint8]) -> Cue:
    shown = silhouettes(small)
    plain = float((~shown).any(axis=(1, 2)).mean())
    n = SIDE_PX // BLOCK_PX
    blocks = shown.reshape(-1, n, BLOCK_PX, n, BLOCK_PX).mean(axis=(2, 4), dtype=np.float32)
    what = (
        "The outline on a plain background, filled in: shape without size, colour or texture. "
        f"{plain:.0%} of the images have a plain background."
    )
    is_usable = plain >= FEWEST_PLAIN
    unusable = "" if is_usable else f"only {plain:.1%} of the images have a plain background"
    return Cue("silhouette", what, blocks.reshape(len(small), -1), unusable)


def metadata_cues(table: pl.DataFrame) -> list[Cue]:
    """Return a cue for each column that the data set has besides what every one has.

    Texts become one column a value (the 30 most frequent), numbers stay, and what is missing is
    marked: that something was not written down can give a class away too.
    """
    names = metadata_columns(table)
    cues = []
    for name in names[:MOST_COLUMNS]:
        column = table[name]
        what = f"The column {name}, and no image."
        if column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Boolean:
            cues.append(Cue(name, what, _numbers(column)))
        elif column.dtype.is_nested():
            cues.append(_unusable(name, what, table.height, "its values are lists"))
        else:
            cues.append(_texts(name, what, column))
    cues += [
        _unusable(name, f"The column {name}.", table.height, f"over {MOST_COLUMNS} columns")
        for name in names[MOST_COLUMNS:]
    ]
    return cues


def _unusable(name: str, what: str, n_images: int, why: str) -> Cue:
    return Cue(name, what, np.zeros((n_images, 1), np.float32), why)


def _numbers(column: pl.Series) -> NDArray[np.float32]:
    if column.dtype.is_temporal():
        column = column.to_physical()
    values = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    is_missing = ~np.isfinite(values)
    usual = float(np.median(values[~is_missing])) if not is_missing.all() else 0.0
    filled = np.where(is_missing, usual, values)
    scale = float(np.abs(filled - usual).max()) or 1.0
    return np.stack([(filled - usual) / scale, is_missing], axis=1).astype(np.float32)


def _texts(name: str, what: str, column: pl.Series) -> Cue:
    texts = column.cast(pl.String).fill_null("").to_frame(name)
    counts = texts.group_by(name).len().sort(["len", name], descending=[True, False])
    if counts.height > max(MOST_VALUES, len(column) // 2):
        why = f"its {counts.height:,} texts are nearly all different"
        return _unusable(name, what, len(column), why)
    frequent = counts[name].head(MOST_VALUES).to_list()
    columns = [(texts[name] == value).to_numpy() for value in frequent]
    return Cue(name, what, np.stack(columns, axis=1).astype(np.float32))
