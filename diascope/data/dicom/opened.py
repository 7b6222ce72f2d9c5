"""One DICOM file with one frame, opened: judged, and its pixels are there when asked for."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from diascope.data.dicom.codecs import BIG_ENDIAN, J2K, check_syntax, stored_pixels
from diascope.data.dicom.header import dicom_errors, read_numbers, read_with_numbers
from diascope.data.dicom.heads import ONE_AT_A_TIME
from diascope.data.dicom.levels import colour_levels, grey_levels, states_window
from diascope.data.dicom.palette import palette_colours
from diascope.data.dicom.structure import is_deflated
from diascope.data.formats import FIRST_BYTES, kind_of
from diascope.data.opened import OpenedImage
from diascope.data.window import FILE
from diascope.errors import ImageError

_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_PALETTE = "PALETTE COLOR"
_RESULT, _YBR, _J2K = 4, 30, 24  # bytes a pixel


class DicomImage(OpenedImage):
    """A DICOM file of one frame."""

    is_deep = False  # its header says what its values mean

    def __init__(self, content: bytes) -> None:
        self._dataset, self._numbers = read_with_numbers(content)
        numbers, syntax = self._numbers, self._dataset.file_meta.TransferSyntaxUID
        self.width, self.height = numbers.columns, numbers.rows
        check_syntax(syntax)
        _check_photometric(numbers.photometric, numbers.n_samples)
        if numbers.photometric == _PALETTE and str(syntax) == BIG_ENDIAN:
            raise ImageError("not decoded: a palette in big-endian DICOM")
        if self._dataset.get("HighBit", numbers.bits_stored - 1) != numbers.bits_stored - 1:
            raise ImageError(f"not decoded: high bit {self._dataset.HighBit} of pixels")
        if numbers.n_frames > 1:
            raise ImageError(f"{numbers.n_frames} frames in one file")
        n_pixels = numbers.rows * numbers.columns
        besides = _YBR if numbers.photometric.startswith("YBR") else 0
        besides += _J2K if str(syntax) in J2K else 0
        stored_bytes = 3 * n_pixels * numbers.n_samples * max(1, numbers.bits_allocated // 8)
        self.decoded_bytes = 2 * len(content) + stored_bytes + n_pixels * (_RESULT + besides)

    def rgb(self, background: int) -> NDArray[np.uint8]:  # noqa: ARG002 - nothing shines through
        """Return the pixels in the window of the file."""
        return self.shown(FILE)

    @dicom_errors
    def shown(self, window: str) -> NDArray[np.uint8]:
        """Return the pixels by a rule of `diascope.data.window`: uint8 (H, W, 3), 0-255."""
        stored = stored_pixels(self._dataset, self._numbers)
        if self._numbers.photometric == _PALETTE:
            return palette_colours(stored, self._dataset, self._numbers)
        if stored.ndim == 3:
            return colour_levels(stored, self._numbers)
        levels = grey_levels(stored, self._dataset, self._numbers, window=window)
        return np.repeat(levels[:, :, np.newaxis], 3, axis=2)

    @property
    def states_window(self) -> bool | None:
        """Whether the file states a window or VOI LUT for its grey values; None of colours."""
        return states_window(self._dataset) if self._numbers.photometric in _GREY else None

    def values(self) -> NDArray[np.uint16]:
        """Refuse: its values are scaled by its own header."""
        raise ImageError("DICOM values are scaled by their header")


def states_window_of(content: bytes) -> bool | None:
    """Say whether a file states a window for its grey values; None of any but grey DICOM."""
    if kind_of(content[:FIRST_BYTES]) != "DICOM":
        return None
    try:
        with ONE_AT_A_TIME if is_deflated(content) else nullcontext():
            dataset, numbers = read_numbers(content)
        return states_window(dataset) if numbers.photometric in _GREY else None
    except ImageError:  # is said when it is decoded
        return None


def _check_photometric(photometric: str, n_samples: int) -> None:
    if photometric not in {*_GREY, *_COLOURS, _PALETTE}:
        raise ImageError(f"not decoded: {photometric[:20] or 'no photometric interpretation'}")
    if n_samples != (3 if photometric in _COLOURS else 1):
        raise ImageError(f"{n_samples} samples a pixel of {photometric}")
