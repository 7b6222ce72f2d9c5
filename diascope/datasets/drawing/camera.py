"""Photograph a drawn cell and cut it out as a segmentation by a coarse mask would.

The crop is black outside the mask, whose border is stair-stepped, and shows a little of the slide
and of neighbours inside.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageChops

from diascope.datasets.drawing.red_cell import SAMPLE_PX, STEP_PX, Cell


def photograph(cell: Cell, rng: np.random.Generator) -> tuple[Image.Image, tuple[int, int]]:
    """Return the masked crop of a cell, and the x, y of its corner in the cell's frame.

    Light is absorbed (Beer and Lambert), blurred, gets camera noise and JPEG compression, and
    then everything outside the stair-stepped mask is set to black.
    """
    smear, size = cell.smear, len(cell.haemoglobin)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    light = smear.light * np.exp(rng.normal(0, 0.02) + rng.normal(0, 0.01, 3))
    slopes = rng.normal(0, smear.slope, (1, 2)) + rng.normal(0, 0.3 * smear.slope, (3, 2))
    body = smear.haemoglobin + cell.polychromasia * smear.dye
    frame = np.empty((size, size, 3), np.float32)
    for channel in range(3):
        density = (
            np.float32(body[channel]) * cell.haemoglobin
            + np.float32(smear.dye[channel]) * cell.dye
            + np.float32(smear.ink[channel]) * cell.ink
        )
        across, down = (1 + np.float32(slope) * axis for slope in slopes[channel])
        frame[..., channel] = np.float32(light[channel]) * np.exp(-density) * across
        frame[..., channel] *= down[:, None]
    frame = _blurred(frame, float(smear.blur_px * np.exp(rng.normal(0, 0.25)) / SAMPLE_PX))
    frame += rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(smear.noise)
    photo = _compressed(np.clip(frame, 0, 255).astype(np.uint8), smear.jpeg_quality)
    photo = photo.resize((size * SAMPLE_PX, size * SAMPLE_PX), Image.Resampling.BICUBIC)
    if smear.colour_shift_px:
        red, green, blue = photo.split()
        photo = Image.merge("RGB", (ImageChops.offset(red, smear.colour_shift_px), green, blue))
    return _cut(photo, cell)


def _blurred(frame: np.ndarray, blur_samples: float) -> np.ndarray:
    """Return a frame (S, S, 3) blurred by three taps along each axis, at most 0.8 samples wide."""
    share = np.float32(min(blur_samples**2 / 2, 0.33))
    for axis in (0, 1):
        rows = np.moveaxis(frame, axis, 0)
        blurred = rows * (1 - 2 * share)
        blurred[1:] += share * rows[:-1]
        blurred[:-1] += share * rows[1:]
        frame = np.moveaxis(blurred, 0, axis)
    return frame


def _compressed(pixels: np.ndarray, quality: int) -> Image.Image:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return Image.open(stream, formats=["JPEG"])


def _cut(photo: Image.Image, cell: Cell) -> tuple[Image.Image, tuple[int, int]]:
    """Return the crop inside the mask's bounding box, black outside the mask, and its corner."""
    rows, columns = (np.flatnonzero(cell.inside.any(axis)) * STEP_PX for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    mask = Image.fromarray(cell.inside).resize(photo.size, Image.Resampling.NEAREST)
    picture = Image.new("RGB", photo.size)
    picture.paste(photo, mask=mask)
    return picture.crop((left, top, int(columns[-1]) + 1, int(rows[-1]) + 1)), (left, top)
