"""Corrupt an image as cameras, scanners, stains and storage do, at stated strengths.

The list is after Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR, with what microscopes and dermatoscopes add. A crop that was
cut out and laid on black keeps its black ground: what happens in the microscope happens before.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]  # (H, W, 3), 0-255
Change = Callable[[Picture, float, np.random.Generator], Picture]

STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
"""Optical density of haematoxylin, eosin and DAB in R, G, B: Ruifrok & Johnston 2001, Analytical
and Quantitative Cytology and Histology 23:291-299."""


@dataclass(frozen=True)
class Corruption:
    """One way of corrupting an image."""

    name: str
    strengths: tuple[float, float, float]  # the mildest first
    descriptions: tuple[str, str, str]  # of the strengths, with their units
    neutral: float  # the strength at which nothing changes
    change: Change
    keeps_ground: bool = True  # black that reaches in from the edge stays black

    def applied(self, image: Picture, strength: float, *, rng: np.random.Generator) -> Picture:
        """Return the corrupted image, uint8 (H, W, 3), 0-255, at any strength in the same unit.

        The same state of the generator gives the same bytes.
        """
        if strength == self.neutral:
            return image.copy()
        changed = self.change(image, strength, rng)
        return (
            np.where(black_ground(image)[..., None], 0, changed) if self.keeps_ground else changed
        )


def black_ground(image: Picture) -> NDArray[np.bool_]:
    """Mark exactly black pixels that hang together with the edge of the image: bool (H, W)."""
    is_black = image.max(axis=2) == 0
    edge = np.concatenate([is_black[0], is_black[-1], is_black[:, 0], is_black[:, -1]])
    if not edge.any():
        return np.zeros(is_black.shape, bool)
    _, parts = cv2.connectedComponents(is_black.astype(np.uint8), connectivity=4)
    at_edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return is_black & np.isin(parts, np.unique(at_edge[edge]))


def blur(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Blur by a Gaussian of this standard deviation, as a fraction of the long side.

    The black ground does not bleed in: it is left out of the mean.
    """
    sigma_px = sigma * max(image.shape[:2])
    seen = (~black_ground(image)).astype(np.float32)
    weight = np.maximum(cv2.GaussianBlur(seen, (0, 0), sigma_px), 1e-6)
    light = cv2.GaussianBlur(image.astype(np.float32) * seen[..., None], (0, 0), sigma_px)
    return _pixels(light / weight[..., None])


def noise(image: Picture, sigma_levels: float, rng: np.random.Generator) -> Picture:
    """Add Gaussian noise of this standard deviation in grey levels; a grey image stays grey."""
    n_channels = 1 if is_grey(image) else 3
    grain = rng.standard_normal((*image.shape[:2], n_channels), dtype=np.float32)
    return _pixels(image + sigma_levels * grain)


def jpeg(image: Picture, quality: float, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Compress and decode as JPEG of this quality, 1-100, colours at half resolution."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=int(quality), subsampling="4:2:0")
    return np.array(Image.open(content).convert("RGB"))


def brightness(image: Picture, factor: float, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Multiply every pixel; what is over white is white."""
    return _pixels(image * np.float32(factor))


def contrast(image: Picture, factor: float, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Stretch or press the pixels about their mean grey level; the black ground has no part."""
    seen = image[~black_ground(image)]
    middle = np.float32(seen.mean() if seen.size else 0)
    return _pixels(middle + np.float32(factor) * (image - middle))


def stain(image: Picture, fraction: float, rng: np.random.Generator) -> Picture:
    """Make each of three stains stronger or weaker by this fraction, at random for each image.

    Colours are taken apart into haematoxylin, eosin and a rest by their optical density, as in
    the augmentation of Tellez et al. 2019, Medical Image Analysis 58:101544. For other stains
    such as Giemsa's the three are a set of axes and not the dyes.
    """
    density = -np.log((image.astype(np.float64) + 1) / 256)
    axes = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    amounts = density.reshape(-1, 3) @ np.linalg.inv(axes)
    amounts *= 1 + fraction * rng.choice([-1, 1], 3)
    return _pixels((256 * np.exp(-amounts @ axes) - 1).reshape(image.shape))


def hue(image: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    """Turn the hue of every pixel by this angle, one way or the other at random for each image."""
    unit = cv2.cvtColor((image / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2HSV)
    unit[..., 0] = (unit[..., 0] + degrees * rng.choice([-1, 1])) % 360
    return _pixels(255 * cv2.cvtColor(unit, cv2.COLOR_HSV2RGB))


def white_balance(image: Picture, fraction: float, rng: np.random.Generator) -> Picture:
    """Multiply red by 1 + fraction and blue by 1 - fraction, or the reverse, at random."""
    tilt = fraction * rng.choice([-1, 1])
    return _pixels(image * np.array([1 + tilt, 1, 1 - tilt], np.float32))


def turn(image: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    """Turn about the middle, one way or the other at random for each image.

    What comes in from outside is mirrored. A crop on black is turned whole and cut out again.
    """
    degrees *= float(rng.choice([-1, 1]))
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    if not black_ground(image).any():
        border = cv2.BORDER_REFLECT_101
        turned = cv2.warpAffine(image, matrix, (width, height), borderMode=border)
        return np.asarray(turned, np.uint8)
    across = int(np.ceil(np.hypot(height, width)))
    matrix[:, 2] += (across - width) / 2, (across - height) / 2
    turned = np.asarray(cv2.warpAffine(image, matrix, (across, across)), np.uint8)
    rows, columns = np.flatnonzero(turned.any((1, 2))), np.flatnonzero(turned.any((0, 2)))
    if not rows.size:
        return image.copy()
    return turned[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def flip(image: Picture, number: float, rng: np.random.Generator) -> Picture:  # noqa: ARG001
    """Mirror left to right (1), upside down (2), or make a quarter turn (3); no pixel changes."""
    if number == 3:
        return np.ascontiguousarray(np.rot90(image))
    return np.ascontiguousarray(image[:, ::-1] if number == 1 else image[::-1])


def is_grey(image: Picture) -> bool:
    """Return whether the three channels are equal."""
    return bool((image[..., :1] == image).all())


def _pixels(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# fmt: off
ALWAYS = (
    Corruption("blur", (0.0075, 0.015, 0.03), ("sigma 0.75 % of the long side",
               "sigma 1.5 % of the long side", "sigma 3 % of the long side"), 0, blur),
    Corruption("noise", (5, 10, 20),
               ("sigma 5 grey levels", "sigma 10 grey levels", "sigma 20 grey levels"), 0, noise),
    Corruption("JPEG", (70, 40, 15), ("quality 70", "quality 40", "quality 15"), 0, jpeg,
               keeps_ground=False),
    Corruption("darker", (0.9, 0.75, 0.6),
               ("brightness x 0.9", "brightness x 0.75", "brightness x 0.6"), 1, brightness),
    Corruption("brighter", (1.1, 1.25, 1.4),
               ("brightness x 1.1", "brightness x 1.25", "brightness x 1.4"), 1, brightness),
    Corruption("less contrast", (0.85, 0.7, 0.5),
               ("contrast x 0.85", "contrast x 0.7", "contrast x 0.5"), 1, contrast),
    Corruption("more contrast", (1.15, 1.3, 1.5),
               ("contrast x 1.15", "contrast x 1.3", "contrast x 1.5"), 1, contrast),
)
STAINED = (
    Corruption("stain", (0.1, 0.2, 0.4),
               ("each stain ±10 %", "each stain ±20 %", "each stain ±40 %"), 0, stain),
)
PHOTOGRAPHED = (
    Corruption("hue", (5, 10, 20), ("±5 degrees", "±10 degrees", "±20 degrees"), 0, hue),
    Corruption("white balance", (0.05, 0.1, 0.2), ("red and blue ±5 %", "red and blue ±10 %",
               "red and blue ±20 %"), 0, white_balance),
)
MOVED = (
    Corruption("turned", (10, 20, 45), ("±10 degrees", "±20 degrees", "±45 degrees"), 0, turn,
               keeps_ground=False),
    Corruption("mirrored", (1, 2, 3), ("left to right", "upside down", "a quarter turn"), 0, flip,
               keeps_ground=False),
)
# fmt: on
IS_STAINED = ("stain", "histology", "histopathology", "smear", "bright-field microscopy")


def corruptions_for(modality: str, *, is_grey: bool) -> tuple[Corruption, ...]:
    """Return the corruptions that suit images of a modality, described in words.

    Stained tissue and smears have their stains shifted, other colour images their hue and white
    balance. Where all images are grey, no colour is shifted.

    Examples
    --------
    >>> [one.name for one in corruptions_for("dermoscopy", is_grey=False)][7:]
    ['hue', 'white balance', 'turned', 'mirrored']
    >>> [one.name for one in corruptions_for("histology, H&E stain", is_grey=False)][7:]
    ['stain', 'turned', 'mirrored']
    """
    if is_grey:
        return (*ALWAYS, *MOVED)
    is_stained = any(word in modality.lower() for word in IS_STAINED)
    return (*ALWAYS, *(STAINED if is_stained else PHOTOGRAPHED), *MOVED)
