"""The range of 16-bit values: of all images of a data set together, never of one image.

Archives keep 10 or 12 bits of an X-ray or a CT in files of 16 bits and say so nowhere. Taken by
their high byte, such pictures would be black. What is black and what is white is therefore
measured over the data set once, and kept with whatever is trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

LEAST_BITS = 8
OUTLYING_BITS, OUTLYING_FRACTION = 2, 0.001
NEARLY_ALL = 0.98
SAMPLED_PX = 64  # a side of the grid of pixels that are counted, and up to twice as many


class ValueRange(NamedTuple):
    """The 16-bit values that become 0 and 255; those beyond them become 0 and 255, too."""

    black: int
    white: int

    def __str__(self) -> str:
        """Return both values as text."""
        return f"{self.black}-{self.white}"

    @property
    def n_bits(self) -> int:
        """The bits that the values between take."""
        return (self.white - self.black).bit_length()


ALL_BITS = ValueRange(0, 65535)


def check_range(value_range: ValueRange) -> ValueRange:
    """Return a range that somebody gives; ``ValueError`` if it is none of 8 to 16 bits."""
    black, white = value_range
    n_values = white - black + 1
    if not 0 <= black <= ALL_BITS.white or n_values not in (1 << n for n in range(LEAST_BITS, 17)):
        raise ValueError("must be two whole numbers from 0 to 65535 that are 256, 512, ... apart")
    return value_range


CheckedRange = Annotated[ValueRange, AfterValidator(check_range)]


def range_of(lowest: int, highest: int, *, bulk: tuple[int, int] | None = None) -> ValueRange:
    """Choose the range of a data set by the lowest and the highest value in it.

    White is the highest value of as many bits as are needed, at least 8. Black is 0, or the lowest
    value where that is over half of the highest, as of values with an offset.

    Parameters
    ----------
    lowest, highest : int
        Of all values, 0-65535.
    bulk : pair of int, optional
        Between which nearly all values lie. A few that are four times as high, such as letters
        burnt into an X-ray, do not count, and become white; so for a few that are very low.

    Examples
    --------
    >>> range_of(0, 3071), range_of(990, 1230), range_of(30768, 36000)
    (ValueRange(black=0, white=4095), ValueRange(black=990, white=1245), \
ValueRange(black=30768, white=38959))
    >>> range_of(0, 65535) == ALL_BITS, range_of(0, 65535, bulk=(12, 3000))
    (True, ValueRange(black=0, white=4095))
    """
    low, high = bulk or (lowest, highest)
    if highest.bit_length() - high.bit_length() < OUTLYING_BITS:
        high = highest
    black = next((value for value in (lowest, low) if 2 * value > high), 0)
    n_bits = max(LEAST_BITS, (high - black).bit_length())
    return ValueRange(black, black + (1 << n_bits) - 1)


class Values(NamedTuple):
    """The values of one image of 16 bits."""

    lowest: int
    highest: int
    sample: NDArray[np.uint16]  # (n,): those of some pixels that lie evenly over it


def values_of(image: NDArray[np.uint16]) -> Values:
    """Return the values of an image, uint16 (H, W, C)."""
    height, width = image.shape[:2]
    every = max(1, height // SAMPLED_PX), max(1, width // SAMPLED_PX)
    sample = image[:: every[0], :: every[1]].ravel()
    return Values(int(image.min()), int(image.max()), sample)


@dataclass
class SeenValues:
    """The values of all images of 16 bits of a data set, seen one after the other."""

    n_images: int = 0
    lowest: int = ALL_BITS.white
    highest: int = 0
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 16, np.int64))

    def add(self, values: Values) -> None:
        """Count the values of one more image."""
        self.n_images += 1
        self.lowest = min(self.lowest, values.lowest)
        self.highest = max(self.highest, values.highest)
        self._counts += np.bincount(values.sample, minlength=len(self._counts))

    def plus(self, other: SeenValues) -> SeenValues:
        """Return what was seen in both."""
        return SeenValues(
            self.n_images + other.n_images,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self._counts + other._counts,
        )

    def between(self, tail: float) -> tuple[int, int]:
        """Return the values above and below which there is a fraction ``tail`` of all, 0-1."""
        up_to = self._counts.cumsum()
        low, high = np.searchsorted(up_to, [tail * up_to[-1], (1 - tail) * up_to[-1]])
        return int(low), int(high)

    @property
    def value_range(self) -> ValueRange:
        """The range of the data set."""
        return range_of(self.lowest, self.highest, bulk=self.between(OUTLYING_FRACTION))

    def facts(self) -> dict[str, Any]:
        """Return the numbers for the fingerprint, see docs/formats.md."""
        black, white = self.value_range
        levels = to_8_bits(np.arange(1 << 16, dtype=np.uint16), self.value_range)
        common = np.sort(np.bincount(levels, weights=self._counts, minlength=256))[::-1].cumsum()
        return {
            "n_images": self.n_images,
            "lowest": self.lowest,
            "highest": self.highest,
            "black": black,
            "white": white,
            "n_levels": int(np.searchsorted(common, NEARLY_ALL * common[-1])) + 1,
        }


def to_8_bits(values: NDArray[np.uint16], value_range: ValueRange) -> NDArray[np.uint8]:
    """Scale 16-bit values of any shape to 0-255: the high byte of the bits in the range.

    Examples
    --------
    >>> to_8_bits(np.array([0, 990, 1200, 60000], np.uint16), ValueRange(990, 1245)).tolist()
    [0, 0, 210, 255]
    """
    if value_range == ALL_BITS:
        return (values >> 8).astype(np.uint8)
    black, white = value_range
    above = np.clip(values, black, min(white, ALL_BITS.white))
    above -= np.uint16(black)
    above >>= np.uint16(value_range.n_bits - LEAST_BITS)
    return above.astype(np.uint8)
