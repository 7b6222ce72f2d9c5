"""Image quality: images that are far from all others in a measure that no label enters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

FAR = 6.0  # robust standard deviations from the median
TO_SIGMA = 1.4826  # of a normal distribution, over its median absolute deviation
FLAT_CONTRAST = 2.0  # grey levels: less is next to nothing to be seen
TINY_PX = 8


@dataclass(frozen=True)
class Oddity:
    """A way of being odd, and the images that are."""

    # name, rule: in a word or two; and how it is recognised
    name: str
    rule: str
    rows: NDArray[np.int64]  # (M,): the oddest first


MEASURED = (  # name, column, on a logarithmic scale, which end is odd
    ("dark", "luminance", False, -1),
    ("bright", "luminance", False, 1),
    ("little contrast", "contrast", True, -1),
    ("blurred", "sharpness", True, -1),
    ("noisy or very sharp", "sharpness", True, 1),
    ("blocks of JPEG", "blockiness", False, 1),
    ("small file for its size", "bytes_a_px", True, -1),
    ("large file for its size", "bytes_a_px", True, 1),
    ("long and narrow", "elongation", True, 1),
    ("small", "area", True, -1),
    ("large", "area", True, 1),
)


def find_oddities(values: pl.DataFrame) -> list[Oddity]:
    """Find the images that are odd, by fixed rules and by their distance from the rest.

    Parameters
    ----------
    values : DataFrame
        A row an image, see `diascope.audit.measure.Measures`.

    Returns
    -------
    list of Oddity
        Those that some image shows. An image may be in several.
    """
    area = pl.col("width_px") * pl.col("height_px")
    table = values.with_columns(
        area=area,
        elongation=pl.max_horizontal("width_px", "height_px")
        / pl.min_horizontal("width_px", "height_px"),
        bytes_a_px=pl.col("n_bytes") / area,
    )
    short = pl.min_horizontal("width_px", "height_px")
    fixed = [
        ("next to empty", f"contrast below {FLAT_CONTRAST:.0f} of 255 grey levels", "contrast",
         pl.col("contrast") < FLAT_CONTRAST),
        ("tiny", f"a side below {TINY_PX} px", "area", short < TINY_PX),
    ]  # fmt: skip
    found = []
    for name, rule, column, is_odd in fixed:
        rows = np.flatnonzero(table.select(is_odd).to_series().to_numpy())
        order = np.argsort(table[column].to_numpy()[rows], kind="stable")
        found.append(Oddity(name, rule, rows[order]))
    for name, column, is_log, sign in MEASURED:
        distance = sign * robust_distance(table[column].to_numpy(), is_log=is_log)
        rows = np.flatnonzero(distance > FAR)
        rule = f"{column.replace('_', ' ')} over {FAR:.0f} robust deviations from the median"
        found.append(Oddity(name, rule, rows[np.argsort(-distance[rows], kind="stable")]))
    return [oddity for oddity in found if len(oddity.rows)]


def robust_distance(values: NDArray[np.float64], *, is_log: bool) -> NDArray[np.float64]:
    """Return the distance of each value from the median, in robust standard deviations.

    Where over half of the values are equal, the mean absolute deviation takes the place of the
    median one; where all are, every distance is 0.

    Parameters
    ----------
    values : float64 (N,)
    is_log : bool
        Measure on a logarithmic scale; values are then not negative.

    Examples
    --------
    >>> robust_distance(np.array([1.0, 2.0, 3.0, 100.0]), is_log=False).round(1).tolist()
    [-1.0, -0.3, 0.3, 65.8]
    """
    scaled = np.log(values + 1e-3) if is_log else values
    deviation = scaled - np.median(scaled)
    spread = TO_SIGMA * np.median(np.abs(deviation))
    if spread < 1e-9:
        spread = np.abs(deviation).mean()
    return deviation / spread if spread > 1e-9 else np.zeros_like(scaled)
