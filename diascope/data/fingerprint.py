"""The fingerprint: measured facts of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import SPLITS

TINY_PX = 8  # images that are smaller on a side show next to nothing
STATISTICS_IMAGES = 4096  # at least; enough for a mean; evenly spaced, so the same every time
CHUNK = 256  # images counted at a time


def measure(table: pl.DataFrame, classes: tuple[str, ...]) -> dict[str, Any]:
    """Count images and groups, by class and by split, and measure the sizes.

    The result is ready for JSON: ``n_images, n_groups, classes, splits, group_kinds, width_px,
    height_px, n_tiny``.
    """
    return {
        **_count(table),
        "classes": _count_classes(table, classes),
        "splits": {name: _count_split(table, name, classes) for name in SPLITS},
        "group_kinds": _count_group_kinds(table, classes),
        "width_px": _spread(table["width"]),
        "height_px": _spread(table["height"]),
        "n_tiny": table.filter(pl.min_horizontal("width", "height") < TINY_PX).height,
    }


def _count(table: pl.DataFrame) -> dict[str, int]:
    return {"n_images": table.height, "n_groups": table["group"].n_unique()}


def _count_classes(table: pl.DataFrame, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {name: _count(table.filter(pl.col("label") == name)) for name in classes}


def _count_split(table: pl.DataFrame, split: str, classes: tuple[str, ...]) -> dict[str, Any]:
    part = table.filter(pl.col("split") == split)
    return {**_count(part), "classes": _count_classes(part, classes)}


def _count_group_kinds(table: pl.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    """Count the groups by the set of classes that they have."""
    kinds: dict[str, int] = {}
    found = table.group_by("group").agg(pl.col("label").unique()).sort("group")
    for labels in found["label"].to_list():
        present = [name for name in classes if name in labels]
        kind = f"{present[0]} only" if len(present) == 1 else " and ".join(present)
        kinds[kind] = kinds.get(kind, 0) + 1
    return dict(sorted(kinds.items()))


def _spread(values: pl.Series) -> dict[str, int]:
    numbers = values.to_numpy()
    return {
        "min": int(numbers.min()),
        "median": int(np.median(numbers)),
        "max": int(numbers.max()),
    }


def channel_statistics(
    images: NDArray[np.uint8], rows: NDArray[np.integer]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure mean and standard deviation per channel, of pixel values in 0-1.

    Parameters
    ----------
    images : uint8 (N, S, S, C), 0-255
    rows : int (n,)
        The training images; of many, 4096 or more evenly spaced ones are read.

    Returns
    -------
    mean, std : tuple of float (C,)
        A deviation is at least 1/255, so that a channel of one value can be divided by it.
    """
    every = max(1, len(rows) // STATISTICS_IMAGES)
    levels = np.arange(256) / 255
    mean, std = [], []
    for counts in _count_levels(images, rows[::every]):
        fractions = counts / counts.sum()
        average = float(fractions @ levels)
        mean.append(average)
        std.append(max(1 / 255, float(np.sqrt(fractions @ (levels - average) ** 2))))
    return tuple(mean), tuple(std)


def _count_levels(images: NDArray[np.uint8], rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the pixels of each value, int64 (C, 256); in chunks, as counting widens the pixels."""
    counts = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, len(rows), CHUNK):
        chunk = images[rows[start : start + CHUNK]]
        for channel in range(len(counts)):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return counts
