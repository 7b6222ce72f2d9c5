"""Plant near-duplicates: what happens to a picture on its way into a data set a second time."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

KINDS = ("crop", "mirror", "rotation", "shift", "jpeg", "colour", "rescale", "combination")


def plant(image, kind: str, rng: np.random.Generator):
    """Return the picture changed in one way, or in several at once, uint8 (H, W, 3).

    crop keeps 55-85 % of the area; mirror adds quarter turns; rotation is by any angle, shift by
    8-25 % of each side, both with black behind; JPEG quality 40-79; colour is gamma 0.75-1.33,
    gain 0.85-1.15 and offset a channel; rescale 0.5-2 times. A combination crops to 65-90 %,
    mirrors or not, turns, rescales by 0.7-1.4, changes colours and compresses to quality 60-89.
    """
    if kind == "combination":
        changed = _crop(image, rng, 0.65, 0.9)
        changed = changed[:, ::-1].copy() if rng.random() < 0.5 else changed
        changed = _rotate(changed, rng) if rng.random() < 0.5 else _quarter_turn(changed, rng)
        changed = _rescale(changed, rng, 0.7, 1.4)
        return _jpeg(_colour(changed, rng), rng, 60, 90)
    return {
        "crop": lambda: _crop(image, rng, 0.55, 0.85),
        "mirror": lambda: _quarter_turn(image[:, ::-1], rng),
        "rotation": lambda: _rotate(image, rng),
        "shift": lambda: _shift(image, rng),
        "jpeg": lambda: _jpeg(image, rng, 40, 80),
        "colour": lambda: _colour(image, rng),
        "rescale": lambda: _rescale(image, rng, 0.5, 2.0),
    }[kind]()


def _crop(image, rng, low: float, high: float):
    height, width = image.shape[:2]
    side = rng.uniform(low, high) ** 0.5
    rows, columns = int(height * side), int(width * side)
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def _quarter_turn(image, rng):
    return np.ascontiguousarray(np.rot90(image, rng.integers(4)))


def _rotate(image, rng):
    height, width = image.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-180, 180), 1.0)
    return cv2.warpAffine(image, matrix, (width, height))


def _shift(image, rng):
    height, width = image.shape[:2]
    dy, dx = (int(rng.choice([-1, 1]) * rng.uniform(0.08, 0.25) * side) for side in (height, width))
    return cv2.warpAffine(image, np.array([[1.0, 0, dx], [0, 1, dy]]), (width, height))


def _jpeg(image, rng, low: int, high: int):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=int(rng.integers(low, high)))
    return np.array(Image.open(content).convert("RGB"))


def _colour(image, rng):
    values = (image / 255.0) ** rng.uniform(0.75, 1.33)
    values = values * rng.uniform(0.85, 1.15, 3) + rng.uniform(-0.06, 0.06, 3)
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def _rescale(image, rng, low: float, high: float):
    factor = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)
