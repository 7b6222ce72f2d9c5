"""Whether there is anything to be seen: in each image, and between the images of a data set.

Nothing here depends on labels, and what is kept does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLED_PX = 64  # a side of the grid of pixels that are looked at, and up to twice as many
CELLS = 8  # a side of the coarse picture by which images are compared
FLAT_CONTRAST = 2.0  # grey levels, 0-255: less is next to nothing to be seen
FEWEST_LEVELS = 32  # of 256: so few make steps where there were none
EMPTY = 0.995  # the fraction of pixels of one shade from which on an image is empty
SHADE = 4  # grey levels that count as one shade
ALIKE = 2.0  # grey levels by which coarse pictures differ, where all images are nearly the same
FEWEST_IMAGES = 4  # of which one can say that they are alike


class Look(NamedTuple):
    """What a quick look at one image shows."""

    is_flat: bool  # nearly one colour, or one shade nearly all over
    has_few_levels: bool  # something, in fewer than 32 grey levels
    coarse: NDArray[np.float64]  # (64,): mean grey levels of the cells of a grid, 0-255


def look_at(image: NDArray[np.uint8]) -> Look:
    """Take a quick look at an image, uint8 (H, W, 3): at every pixel of a grid of some 64 x 64."""
    height, width = image.shape[:2]
    every = max(1, height // SAMPLED_PX), max(1, width // SAMPLED_PX)
    seen = np.ascontiguousarray(image[:: every[0], :: every[1]])
    grey = np.asarray(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), np.uint8)
    counts = np.bincount(grey.ravel(), minlength=256)
    up_to = np.concatenate([[0], counts.cumsum()])
    most_of_one_shade = (up_to[SHADE:] - up_to[:-SHADE]).max()
    contrast = float(cv2.meanStdDev(grey)[1][0, 0])
    is_flat = contrast < FLAT_CONTRAST or most_of_one_shade >= EMPTY * grey.size
    has_few_levels = not is_flat and np.count_nonzero(counts) < FEWEST_LEVELS <= min(height, width)
    coarse = np.asarray(cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float64)
    return Look(bool(is_flat), bool(has_few_levels), coarse.ravel())


@dataclass
class Visible:
    """What was seen in the images of a data set, one after the other."""

    n_images: int = 0
    n_flat: int = 0
    n_few_levels: int = 0
    _sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(CELLS**2))
    _squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(CELLS**2))

    def add(self, look: Look) -> None:
        """Count one more image."""
        self.n_images += 1
        self.n_flat += look.is_flat
        self.n_few_levels += look.has_few_levels
        self._sum += look.coarse
        self._squares += look.coarse**2

    def plus(self, other: Visible) -> Visible:
        """Return what was seen in both; the sums are whole numbers, so no order matters."""
        return Visible(
            self.n_images + other.n_images,
            self.n_flat + other.n_flat,
            self.n_few_levels + other.n_few_levels,
            self._sum + other._sum,
            self._squares + other._squares,
        )

    @property
    def difference(self) -> float:
        """By how many grey levels the coarse pictures differ: a standard deviation, 0-128."""
        if not self.n_images:
            return 0.0
        mean = self._sum / self.n_images
        return float(np.sqrt(np.maximum(0, self._squares / self.n_images - mean**2).mean()))

    def facts(self) -> dict[str, Any]:
        """Return the counts for the fingerprint, and whether nearly all images are alike."""
        return {
            "n_nearly_empty": self.n_flat,
            "n_few_levels": self.n_few_levels,
            "nearly_all_alike": self.n_images >= FEWEST_IMAGES and self.difference < ALIKE,
        }


def describe_visible(facts: Mapping[str, Any], *, least: float = 0.0) -> list[str]:
    """Say how little the images of a data set show, in sentences; nothing where they show enough.

    Parameters
    ----------
    facts : mapping
        Of a fingerprint: ``n_images, n_nearly_empty, n_few_levels, nearly_all_alike``.
    least : float
        The fraction of images, 0-1, from which on empty ones are worth a sentence.
    """
    sentences, n_images = [], facts.get("n_images", 0)
    n_empty, n_few = facts.get("n_nearly_empty", 0), facts.get("n_few_levels", 0)
    if n_empty and n_empty >= least * n_images:
        sentences.append(
            f"Nearly empty images, of one colour such as black all over: {n_empty:,} of "
            f"{n_images:,}. Next to nothing is to be seen in them."
        )
    if facts.get("nearly_all_alike"):
        sentences.append(
            f"The {n_images:,} images are nearly all alike, less than {ALIKE:.0f} of 256 grey "
            "levels apart: check that the files are what they should be."
        )
    if n_few and 2 * n_few > n_images:
        sentences.append(
            f"Images with fewer than {FEWEST_LEVELS} of 256 grey levels: {n_few:,} of "
            f"{n_images:,}. Check how they were made."
        )
    return sentences


def describe_sixteen_bits(facts: Mapping[str, Any]) -> list[str]:
    """Say how 16-bit values are shown; nothing for a data set that has none.

    The facts are those of a fingerprint: ``n_images, sixteen_bits``.
    """
    found = facts.get("sixteen_bits")
    if not found:
        return []
    black, white = found["black"], found["white"]
    sentence = (
        f"Values of 16 bits, in {found['n_images']:,} of {facts['n_images']:,} images, reach from "
        f"{found['lowest']:,} to {found['highest']:,}: {black:,} is shown black and {white:,} "
        "white, in all of them and in whatever a network trained on them will see. "
        f"98 % of the pixels have one of {found['n_levels']} grey levels."
    )
    if found["highest"] > white:
        sentence += " The few values above white become white."
    if found["n_levels"] < FEWEST_LEVELS:
        sentence += " That is little: look at the images, or convert them to 8 bits yourself."
    return [sentence]
