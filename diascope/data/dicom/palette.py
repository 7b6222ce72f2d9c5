"""Colours of DICOM pixels that are numbers of a palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diascope.data.dicom.header import Numbers
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_ENTRIES = 1 << 16
_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR = 0, 1


def palette_colours(stored: NDArray[Any], dataset: Dataset, numbers: Numbers) -> NDArray[np.uint8]:
    """Return the colours of stored values (H, W): uint8 (H, W, 3)."""
    from pydicom.pixels.processing import apply_color_lut

    if numbers.bits_stored > 16:
        raise ImageError(f"a palette of {numbers.bits_stored} bits")
    for colour in _COLOURS:
        _check_segments(dataset, f"Segmented{colour}PaletteColorLookupTableData")
    every = np.arange(1 << numbers.bits_stored, dtype=np.uint16)
    if numbers.is_signed:
        every = (every.astype(np.int32) - (1 << (numbers.bits_stored - 1))).astype(np.int16)
    colours = apply_color_lut(every, dataset)[:, :3]
    table = colours.astype(np.uint8) if colours.itemsize == 1 else (colours >> 8).astype(np.uint8)
    return table[np.clip(stored.astype(np.int32) - int(every[0]), 0, len(table) - 1)]


def _check_segments(dataset: Dataset, name: str) -> None:
    """Refuse a palette that unfolds to more entries than one may have, or refers to itself."""
    data = dataset.get(name)
    if not data:
        return
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    numbers = np.frombuffer(data, np.uint8 if bits == 8 else "<u2").tolist()
    at = n_entries = 0
    while at + 1 < len(numbers):
        kind, n_more = numbers[at], numbers[at + 1]
        if kind not in (_DISCRETE, _LINEAR):
            raise ImageError("not decoded: a palette with indirect segments")
        n_entries += n_more
        if n_entries > MAX_ENTRIES:
            raise ImageError("a palette that unfolds to too much")
        at += 2 + (n_more if kind == _DISCRETE else 1)
