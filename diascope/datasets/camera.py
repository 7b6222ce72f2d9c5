"""Photograph a drawn cell and cut it out as a segmentation by a coarse mask would.

The crop is black outside the mask, whose border is stair-stepped, and shows a little of the slide
and of neighbours inside.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from diascope.datasets.red_cell import SAMPLE_PX, STEP_PX, Cell


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
    blur = ImageFilter.GaussianBlur(float(smear.blur_px * np.exp(rng.normal(0, 0.25)) / SAMPLE_PX))
    image = Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).filter(blur)
    size *= SAMPLE_PX
    sharp = np.array(image.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    if smear.colour_shift_px:
        sharp[..., 0] = np.roll(sharp[..., 0], smear.colour_shift_px, axis=int(rng.integers(0, 2)))
    noise = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(smear.noise)
    sharp += noise.astype(np.int16)
    noisy = np.minimum(np.maximum(sharp, 0), 255).astype(np.uint8)
    return _cut(_compress(noisy, smear.jpeg_quality), cell)


def _compress(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream, formats=["JPEG"]))


def _cut(pixels: np.ndarray, cell: Cell) -> tuple[Image.Image, tuple[int, int]]:
    """Return the crop inside the mask's bounding box, black outside the mask, and its corner."""
    inside = cell.inside
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, bottom = int(rows[0]) * STEP_PX, int(rows[-1]) * STEP_PX + 1
    left, right = int(columns[0]) * STEP_PX, int(columns[-1]) * STEP_PX + 1
    mask = inside.astype(np.uint8).repeat(STEP_PX, 0).repeat(STEP_PX, 1)[..., None]
    crop = (pixels * mask)[top:bottom, left:right]
    return Image.fromarray(crop), (left, top)
