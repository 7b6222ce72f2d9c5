"""The one decoder: bytes of an image file to RGB pixels, the same in training and in serving.

What comes out is ``uint8 (H, W, 3)``, 0-255, by these rules:

- Formats: PNG, JPEG, JPEG 2000, BMP and DIB, TIFF, GIF, WEBP, AVIF, TGA, PBM, PGM, PPM and PAM,
  and DICOM, recognised by content, never by extension.
- The EXIF orientation is applied: the picture is upright.
- PPM and PAM values are scaled by the maximum that the file states, 12-bit TIFF by 4095.
- A palette is expanded to its colours; a transparent palette entry is alpha.
- Alpha is laid over black or white, as chosen; nothing of hidden pixels shows through. Alpha that
  is 0 throughout, as cameras and Windows programs write it, is not used: the colours are shown.
- 1-bit pixels become 0 and 255. Grey becomes three equal channels.
- 16-bit pixels are scaled by the range of their data set, see `diascope.data.value_range`; where
  none is given they keep their high byte (``x >> 8``). Nothing is ever stretched by image.
- DICOM, with the extra ``dicom``: grey values go through the modality LUT or rescale, then, as the
  rule of the data set says (`diascope.data.window`), through the first VOI LUT or window that the
  file states, a fixed window, or the whole range of the stored bits; then MONOCHROME1 is inverted.
  Padding becomes black. Palettes and YBR become RGB. Of several frames, each is an image of its
  own, ``path#frame=3``, see `diascope.data.sources.dicom`. Overlays, presentation states, ICC
  profiles and the orientation of the patient are not used.
- CMYK, YCbCr and LAB are converted to RGB. ICC profiles are ignored.
- Of a JPEG camera file with several pictures (MPO) the first is taken.
- Refused in words: several frames or pages of a file that is not DICOM; floating-point, signed and
  32-bit pixels for which no file states what is black and what is white; what is beyond the budget
  of one file, see `diascope.data.budget`; truncated files, though an end mark closes them; damaged
  ones, as far as it shows: JPEG has no checksum, and its decoder bridges small damage.

Whatever the bytes are, the outcome is an array or an `ImageError` of one short line. The settings
of Pillow are neither changed nor relied upon.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diascope.data.budget import MAX_DECODED_BYTES, ROOM
from diascope.data.decoders import open_kind, over_background
from diascope.data.dicom.header import name_of_object
from diascope.data.dicom.opened import DicomImage
from diascope.data.dicom.structure import is_deflated
from diascope.data.formats import (
    BARE_DICOM,
    DOSE,
    FIRST_BYTES,
    IMAGE_KINDS,
    MAP,
    NO_DICOM_IMAGE,
    OWN_CAPTURE,
    SEGMENTATION,
    kind_of,
)
from diascope.data.opened import OpenedImage
from diascope.data.value_range import ALL_BITS, ValueRange, Values, to_8_bits, values_of
from diascope.data.window import FILE, check_window
from diascope.errors import ImageError, SettingsError, UnknownNameError

RULES = 3  # raise it when the same file would give other pixels
Fit = Literal["pad", "stretch"]
AlphaBackground = Literal["black", "white"]
FITS: tuple[Fit, ...] = get_args(Fit)
ALPHA_BACKGROUNDS: dict[str, int] = {"black": 0, "white": 255}
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_NOT_IMAGES = {  # by `kind_of`
    "empty file": "empty file",
    "DICOMDIR": "an index of DICOM files (DICOMDIR), not an image: pass its folder",
    NO_DICOM_IMAGE: "a DICOM file without an image",
    BARE_DICOM: "DICOM without its preamble: repair it with dcmconv",
    SEGMENTATION: "a DICOM segmentation, not an image: it marks places in others",
    DOSE: "a DICOM radiation dose, not an image",
    MAP: "a DICOM parametric map, not an image",
    OWN_CAPTURE: "a picture that diascope made, not an image to classify",
    "HEIC image": "a HEIC image: save it as PNG or JPEG",
    "text": "not an image (text)",
}


def _refused_in_words(decode: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Raise whatever Pillow raises, which for hostile bytes is nearly anything, as ImageError."""

    @wraps(decode)
    def decode_or_refuse(*given: Parameters.args, **named: Parameters.kwargs) -> Result:
        try:
            return decode(*given, **named)
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too big for the memory that is free") from None
        except Exception as error:
            raise ImageError(_reason(error)) from error

    return decode_or_refuse


@dataclass(frozen=True)
class Decoding:
    """How the files of a data set become pixels.

    ``UnknownNameError`` for another background, ``SettingsError`` for another rule for windows.
    """

    alpha_background: str = "black"  # what shows through transparent pixels, or ``"white"``
    value_range: ValueRange | None = None  # of 16-bit values; None where the data set has none
    window: str = FILE  # of DICOM values, see `diascope.data.window`

    def __post_init__(self) -> None:
        try:
            check_window(self.window)
        except ValueError as error:
            raise SettingsError(f"The window {error}, not {self.window!r}.") from error
        if self.alpha_background not in ALPHA_BACKGROUNDS:
            raise UnknownNameError("alpha background", self.alpha_background, ALPHA_BACKGROUNDS)

    def read(self, content: bytes) -> NDArray[np.uint8]:
        """Decode a whole file: uint8 (H, W, 3), RGB, 0-255; ``ImageError`` if it is refused."""
        with opened(content) as image:
            return self.pixels(image)

    @contextmanager
    def held(self, content: bytes) -> Iterator[NDArray[np.uint8]]:
        """Decode a whole file, with its memory reserved among all threads until the block ends."""
        with opened(content) as image:
            yield self.pixels(image)

    @_refused_in_words
    def pixels(self, image: OpenedImage) -> NDArray[np.uint8]:
        """Return the pixels of an opened file: uint8 (H, W, 3); ``ImageError`` as of `read`."""
        if isinstance(image, DicomImage):
            return image.shown(self.window)
        background = ALPHA_BACKGROUNDS[self.alpha_background]
        if not image.is_deep:
            return image.rgb(background)
        values = image.values()
        n_colours = 1 if values.shape[2] < 3 else 3
        samples = to_8_bits(values[:, :, :n_colours], self.value_range or ALL_BITS)
        if n_colours < values.shape[2]:
            alpha = to_8_bits(values[:, :, n_colours:], ALL_BITS)
            samples = np.concatenate([samples, alpha], axis=2)
        return over_background(samples, background)


@_refused_in_words
def open_image(content: bytes) -> OpenedImage:
    """Read and judge the header of a file; ``ImageError`` if it is refused."""
    kind = kind_of(content[:FIRST_BYTES])
    if kind not in IMAGE_KINDS:
        name = name_of_object(content) if kind == NO_DICOM_IMAGE else ""
        what = _NOT_IMAGES.get(kind, "not an image of a known format")
        raise ImageError(f"{what} ({name})" if name else what)
    return open_kind(content, kind)


@contextmanager
def opened(content: bytes) -> Iterator[OpenedImage]:
    """Open a file, with the memory that its pixels take reserved among all threads until the end.

    Of deflated DICOM nobody knows how much it holds until it has been inflated, which opening does.
    """
    if is_deflated(content):
        with ROOM.taken(MAX_DECODED_BYTES):
            yield open_image(content)
        return
    image = open_image(content)
    with ROOM.taken(image.decoded_bytes):
        yield image


@_refused_in_words
def values_in(image: OpenedImage) -> Values:
    """Return what colour values there are in an image of 16 bits."""
    values = image.values()
    return values_of(values[:, :, : 1 if values.shape[2] < 3 else 3])


def decode_image(
    content: bytes,
    *,
    alpha_background: str = "black",
    value_range: ValueRange | None = None,
    window: str = FILE,
) -> NDArray[np.uint8]:
    """Decode one image file by the rules of this module.

    Safe to call from several threads; they decode side by side, as far as memory allows.

    Parameters
    ----------
    content : bytes
        The whole file.
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.
    value_range : ValueRange, optional
        The 16-bit values that become black and white; the lowest and highest of all by default.
    window : str
        The DICOM values that do, see `diascope.data.window.check_window`.

    Returns
    -------
    ndarray
        uint8 (H, W, 3), RGB, 0-255.

    Raises
    ------
    ImageError
        The file is refused; the message is one short line that fits a table.
    UnknownNameError, SettingsError
        There is no such background, or no such window.
    """
    return Decoding(alpha_background, value_range, window).read(content)


def fit_image(image: NDArray[np.uint8], size_px: int, *, fit: str) -> NDArray[np.uint8]:
    """Resize an image to a square, bilinear with the support widened against aliasing.

    Rows are resized first and columns then, in two calls: in one call the order of the two, and
    with it the rounding between them, is Pillow's, and differs from version to version.

    Parameters
    ----------
    image : ndarray
        uint8 (H, W, 3), 0-255.
    size_px : int
        The side S of the square.
    fit : str
        ``"pad"`` scales the long side to S and centres the image on black: shapes are kept.
        ``"stretch"`` squeezes both sides to S.

    Returns
    -------
    ndarray
        uint8 (S, S, 3), 0-255; a new array. The same input gives the same bytes.

    Raises
    ------
    UnknownNameError
        There is no such fit.

    Examples
    --------
    >>> wide = np.full((10, 20, 3), 255, np.uint8)
    >>> fit_image(wide, 4, fit="pad")[:, :, 0].tolist()
    [[0, 0, 0, 0], [255, 255, 255, 255], [255, 255, 255, 255], [0, 0, 0, 0]]
    """
    if fit not in FITS:
        raise UnknownNameError("fit", fit, FITS)
    height, width = image.shape[:2]
    scale = size_px / max(height, width)
    new_height = size_px if fit == "stretch" else max(1, round(height * scale))
    new_width = size_px if fit == "stretch" else max(1, round(width * scale))
    across = Image.fromarray(image).resize((new_width, height), Image.Resampling.BILINEAR)
    resized = across.resize((new_width, new_height), Image.Resampling.BILINEAR)
    square = np.zeros((size_px, size_px, 3), np.uint8)
    top, left = (size_px - new_height) // 2, (size_px - new_width) // 2
    square[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return square


def _reason(error: Exception) -> str:
    """Say in one short line what an exception of Pillow means."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | struct.error) or "truncated" in text.lower():
        return "truncated"
    readable = "".join(letter for letter in text if letter.isascii() and letter.isprintable())
    return f"damaged ({readable[:60]})" if readable else "damaged"
