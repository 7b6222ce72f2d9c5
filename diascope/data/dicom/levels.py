"""Grey levels of DICOM pixels: modality LUT, then VOI LUT or window, then MONOCHROME1.

The rules are those of PS3.3 C.11.1 and C.11.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diascope.data.dicom.header import Numbers, dicom_errors
from diascope.data.window import FILE, FULL, fixed_window
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_TABLE_BITS = 16  # up to so many, each stored value is looked up
STRIP_VALUES = 1_000_000
MAX_LUT_BITS = 16


Values = NDArray[np.floating[Any]]


class Lut(NamedTuple):
    """A lookup table of a file."""

    first: int  # the value that is mapped to the first entry
    entries: Values
    n_bits: int

    def __call__(self, values: NDArray[Any]) -> Values:
        """Return the entries of values; those outside have the first and the last."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[index.astype(np.intp)]


def grey_levels(
    stored: NDArray[Any], dataset: Dataset, numbers: Numbers, *, window: str
) -> NDArray[np.uint8]:
    """Return what stored grey values look like.

    Parameters
    ----------
    stored : ndarray
        Integers (H, W).
    dataset : Dataset
        Of a single frame: what the functional groups say of it goes before what is said of all.
    window : str
        See `diascope.data.window.check_window`.

    Returns
    -------
    uint8 (H, W), 0-255
        0 is black. Pixels with the padding value are black.
    """
    if numbers.bits_stored <= MAX_TABLE_BITS:
        lowest, highest = _stored_range(numbers)
        every = np.arange(lowest, highest + 1)
        table = _levels(every, dataset, numbers, window)
        return np.take(table, stored.astype(np.int32) - lowest, mode="clip")
    flat = stored.reshape(-1)
    levels = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), STRIP_VALUES):
        strip = flat[start : start + STRIP_VALUES].astype(np.int64)
        levels[start : start + STRIP_VALUES] = _levels(strip, dataset, numbers, window)
    return levels.reshape(stored.shape)


def _levels(
    stored: NDArray[np.int64], dataset: Dataset, numbers: Numbers, window: str
) -> NDArray[np.uint8]:
    modality = frame_module(dataset, "PixelValueTransformationSequence")
    lut = read_lut(modality, "ModalityLUTSequence", dataset, is_signed=numbers.is_signed)
    slope, intercept = _number(modality, "RescaleSlope", 1), _number(modality, "RescaleIntercept")
    values = lut(stored) if lut else stored.astype(np.float64) * slope + intercept
    shown = None if window == FULL else _shown(values, dataset, window)
    if shown is None:
        shown = (
            _full_range(values, lut)
            if lut
            else _high_byte(stored - _stored_range(numbers)[0], numbers.bits_stored)
        )
        if not lut and slope < 0:
            shown = 255 - shown
    levels = np.clip(np.floor(shown + 0.5), 0, 255).astype(np.uint8)
    if numbers.photometric == "MONOCHROME1":
        levels = 255 - levels
    levels[_is_padding(stored, dataset, numbers)] = 0
    return levels


@dicom_errors
def states_window(dataset: Dataset) -> bool:
    """Say whether a file states how its grey values are to be shown."""
    values = np.zeros(1)
    return _shown(values, dataset, FILE) is not None


def _shown(values: Values, dataset: Dataset, window: str) -> Values | None:
    """Return values in a window as 0-255; None where the file states none."""
    if fixed := fixed_window(window):
        return _linear(values, *fixed)
    voi = frame_module(dataset, "FrameVOILUTSequence")
    if lut := read_lut(voi, "VOILUTSequence", dataset, is_signed=bool(values.min() < 0)):
        return _full_range(lut(values), lut)
    if voi.get("WindowCenter") in (None, "") or voi.get("WindowWidth") in (None, ""):
        return None
    centre, width = _number(voi, "WindowCenter"), _number(voi, "WindowWidth")
    function = str(voi.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "SIGMOID" and width > 0:
        return 255 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - centre) / width + 0.5, 0, 1) * 255
    return _linear(values, centre, width) if width >= 1 else None  # as of a window of 0


def _linear(values: Values, centre: float, width: float) -> Values:
    if width == 1:
        return np.where(values > centre - 0.5, 255.0, 0.0)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


def colour_levels(stored: NDArray[Any], numbers: Numbers) -> NDArray[np.uint8]:
    """Return stored colours (H, W, 3) in 8 bits, over the whole range of their bits."""
    if numbers.bits_stored == 8:
        return stored.astype(np.uint8, copy=False)
    if numbers.is_signed:
        raise ImageError("signed colours")
    levels = np.empty(stored.shape, np.uint8)
    n_rows = max(1, STRIP_VALUES // stored.shape[1])
    for top in range(0, len(stored), n_rows):
        strip = stored[top : top + n_rows].astype(np.int64)
        levels[top : top + n_rows] = np.floor(_high_byte(strip, numbers.bits_stored) + 0.5)
    return levels


def _full_range(entries: Values, lut: Lut) -> Values:
    return _high_byte(entries.astype(np.int64), lut.n_bits)


def _high_byte(values: NDArray[np.int64], n_bits: int) -> Values:
    if n_bits >= 8:
        return (values >> (n_bits - 8)).astype(np.float64)
    return values * (255 / ((1 << n_bits) - 1))


def _stored_range(numbers: Numbers) -> tuple[int, int]:
    if numbers.is_signed:
        half = 1 << (numbers.bits_stored - 1)
        return -half, half - 1
    return 0, (1 << numbers.bits_stored) - 1


def _is_padding(stored: NDArray[np.int64], dataset: Dataset, numbers: Numbers) -> NDArray[np.bool_]:
    if "PixelPaddingValue" not in dataset or dataset.PixelPaddingValue in (None, ""):
        return np.zeros(stored.shape, bool)
    value = int(dataset.PixelPaddingValue)
    limit = dataset.get("PixelPaddingRangeLimit")
    given = (value, value if limit in (None, "") else int(limit))
    bounds = [one for one in (_as_stored(one, numbers) for one in given) if one is not None]
    if len(bounds) < len(given):
        return np.zeros(stored.shape, bool)
    return (stored >= min(bounds)) & (stored <= max(bounds))


def _as_stored(value: int, numbers: Numbers) -> int | None:
    """Return a value as it is stored, also one with the wrong sign; None if no pixel can be so."""
    lowest, highest = _stored_range(numbers)
    if lowest <= value <= highest:
        return value
    half = 1 << (numbers.bits_stored - 1)
    first, last = (lowest, -1) if numbers.is_signed else (half, highest)
    for n_bits in (numbers.bits_stored, numbers.bits_allocated):
        other = value - (1 << n_bits) if numbers.is_signed else value + (1 << n_bits)
        if first <= other <= last:
            return other
    return None


def frame_module(dataset: Dataset, name: str) -> Dataset:
    """Return what holds the attributes of a functional group: of the frame, of all, or the file."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in (dataset.get(groups) or [])[:1]:
            if found := item.get(name):
                return found[0]
    return dataset


def read_lut(module: Dataset, name: str, dataset: Dataset, *, is_signed: bool) -> Lut | None:
    """Return the first lookup table of a sequence; None without one.

    ``is_signed`` says whether values below 0 are looked up. ``ImageError`` if it is damaged.
    """
    sequence = module.get(name)
    if not sequence:
        return None
    item = sequence[0]
    n_entries, first, n_bits = (int(number) for number in item.LUTDescriptor)
    n_entries = n_entries & 0xFFFF or 1 << 16
    if not 1 <= n_bits <= MAX_LUT_BITS:
        raise ImageError(f"a lookup table of {n_bits} bits")
    if first > 0x7FFF and is_signed:
        first -= 0x10000
    data: Any = item.LUTData
    if not isinstance(data, bytes):
        numbers_of_data = data if hasattr(data, "__len__") else [data]
        data = np.asarray(numbers_of_data, np.uint16).tobytes()
        order = "="
    else:
        order = "<" if dataset.original_encoding[1] else ">"
    is_packed = n_bits <= 8 and n_entries <= len(data) < 2 * n_entries
    entries = np.frombuffer(data, np.uint8 if is_packed else f"{order}u2", n_entries)
    return Lut(first, np.minimum(entries, (1 << n_bits) - 1).astype(np.float64), n_bits)


def _number(dataset: Dataset, name: str, default: float = 0) -> float:
    try:
        value: Any = dataset.get(name)
        if value is None or value == "":
            return default
        if hasattr(value, "__len__") and not isinstance(value, str):
            value = value[0]
        number = float(value)
    except ValueError:
        raise ImageError(f"{name} is not a number") from None
    if not np.isfinite(number) or abs(number) > 1e12:
        raise ImageError(f"{name} is not a number")
    return number
