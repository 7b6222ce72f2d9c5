"""The one decoder: bytes of an image file to RGB pixels, the same in training and in serving.

What comes out is ``uint8 (H, W, 3)``, 0-255, by these rules:

- Formats: PNG, JPEG, BMP, TIFF, GIF, WEBP and PPM, told by content, never by extension.
- The EXIF orientation is applied: the picture is upright.
- PPM values are scaled by the maximum that the file states.
- A palette is expanded to its colours; a transparent palette entry is alpha.
- Alpha is laid over black or white, as asked; nothing of hidden pixels shows through.
- 1-bit pixels become 0 and 255. Grey becomes three equal channels.
- 16-bit pixels keep their high byte (``x >> 8``): one rule for all images, no stretching by image.
- CMYK, YCbCr and LAB are converted to RGB. ICC profiles are ignored.
- Of a JPEG camera file with several pictures (MPO) the first is taken.
- Refused in words: several frames or pages; floating-point, signed, 12-bit and 32-bit pixels, for
  which no file states what is black and what is white; sides over `MAX_SIDE_PX`; more pixels than
  `MAX_PIXELS` (both read in the header, before anything is decoded); truncated files; damaged
  ones, as far as it shows: JPEG has no checksum, and its decoder bridges small damage.

Whatever the bytes are, the outcome is an array or an `ImageError` of one short line. The settings
of Pillow are neither changed nor relied upon.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from diascope.errors import ImageError, UnknownNameError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm")
RULES = 1  # raise it when the same file would give other pixels
MAX_SIDE_PX = 30_000
MAX_PIXELS = 100_000_000
FITS = ("pad", "stretch")
ALPHA_BACKGROUNDS = {"black": 0, "white": 255}

# The readers are called by name, and not through Image.open, which warns about big images by a
# limit of its own and cannot be told not to without changing the settings of all threads.
_READERS: dict[tuple[bytes, ...], type[ImageFile]] = {
    (b"\x89PNG\r\n\x1a\n",): PngImagePlugin.PngImageFile,
    (b"\xff\xd8\xff",): JpegImagePlugin.JpegImageFile,
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"): TiffImagePlugin.TiffImageFile,
    (b"GIF87a", b"GIF89a"): GifImagePlugin.GifImageFile,
    (b"BM",): BmpImagePlugin.BmpImageFile,
    (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"): PpmImagePlugin.PpmImageFile,
}
_CONVERTIBLE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_WITH_ALPHA = frozenset({"LA", "PA", "RGBA", "RGBa"})
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_PNG_BIT_DEPTH, _PNG_COLOUR_TYPE, _PNG_INTERLACE = 24, 25, 28  # where the bytes lie in the file
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def decode_image(content: bytes, *, alpha_background: str = "black") -> npt.NDArray[np.uint8]:
    """Decode one image file by the rules of this module.

    Safe to call from several threads; they decode side by side.

    Parameters
    ----------
    content : bytes
        The whole file.
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.

    Returns
    -------
    ndarray
        uint8 (H, W, 3), RGB, 0-255.

    Raises
    ------
    ImageError
        The file is refused; the message is one short line that fits a table.
    UnknownNameError
        There is no such background.
    """
    if alpha_background not in ALPHA_BACKGROUNDS:
        raise UnknownNameError("alpha background", alpha_background, ALPHA_BACKGROUNDS)
    try:
        image = _open(content)
        _check_size(*image.size)
        _check_frames(image)
        _check_range(image)
        _check_transparency(image, content)
        image.load()
        if image.format == "PNG":
            _check_whole_png(image, content)
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, ALPHA_BACKGROUNDS[alpha_background])
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too big for the memory that is free") from None
    except Exception as error:  # hostile bytes make Pillow raise nearly anything
        raise ImageError(_reason(error)) from error


def fit_image(image: npt.NDArray[np.uint8], size_px: int, *, fit: str) -> npt.NDArray[np.uint8]:
    """Resize an image to a square, bilinear with the support widened against aliasing.

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
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    square = np.zeros((size_px, size_px, 3), np.uint8)
    top, left = (size_px - new_height) // 2, (size_px - new_width) // 2
    square[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return square


def _open(content: bytes) -> ImageFile:
    """Read the header with the one reader that the first bytes call for."""
    for beginnings, reader in _READERS.items():
        if content.startswith(beginnings):
            return reader(io.BytesIO(content))
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(io.BytesIO(content))
    raise ImageError(_what_it_is(content))


def _what_it_is(content: bytes) -> str:
    if not content:
        return "empty file"
    if content[128:132] == b"DICM":
        return "a DICOM file, not a picture file"
    beginning = content[:512]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in beginning):
        return "not an image (text)"
    return "not an image of a known format"


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE_PX:
        raise ImageError(f"{width} x {height} px is over the limit of {MAX_SIDE_PX} px a side")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"{width} x {height} px is over the limit of {limit} million pixels")


def _check_frames(image: ImageFile) -> None:
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1:
        raise ImageError(f"{n_frames} frames in one file")


def _check_range(image: ImageFile) -> None:
    """Refuse pixels of which the file does not state what is black and what is white."""
    if image.mode == "F":
        raise ImageError("32-bit float pixels have no stated range")
    if image.mode == "I" and image.format != "PPM":
        raise ImageError("32-bit or signed pixels have no stated range")
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        if tags.get(_BITS_PER_SAMPLE) != (16,):
            raise ImageError("12-bit pixels have no stated range")
        if tags.get(_PHOTOMETRIC) == 0:
            raise ImageError("16-bit pixels with white as zero")


def _check_transparency(image: ImageFile, content: bytes) -> None:
    """Refuse a transparent colour that Pillow would look for at another bit depth."""
    if image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
        n_bits = content[_PNG_BIT_DEPTH]
        if n_bits not in (1, 8):
            raise ImageError(f"{n_bits}-bit pixels with a transparent colour")


def _check_whole_png(image: ImageFile, content: bytes) -> None:
    """Refuse a PNG whose pixels end early; Pillow leaves what is missing black, without a word.

    Only an image that ends in a black row can be one, so that most are told without inflating
    their pixels again.
    """
    width, height = image.size
    is_interlaced = content[_PNG_INTERLACE] == 1
    if not is_interlaced and any(image.crop((0, height - 1, width, height)).tobytes()):
        return
    n_bits = content[_PNG_BIT_DEPTH] * _PNG_SAMPLES[content[_PNG_COLOUR_TYPE]]
    n_wanted = 0
    for left, top, step_x, step_y in _ADAM7 if is_interlaced else _WHOLE:
        columns = max(0, -((left - width) // step_x))
        rows = max(0, -((top - height) // step_y))
        n_wanted += rows * (1 + (columns * n_bits + 7) // 8) if columns else 0
    packed, at = [], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IDAT":
            packed.append(content[at + 8 : at + 8 + length])
        at += 12 + length
    if len(zlib.decompressobj().decompress(b"".join(packed), n_wanted)) < n_wanted:
        raise ImageError("truncated")


def _rgb(image: Image.Image, background: int) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits; PPM has them in a wider type
        high_byte = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(high_byte[:, :, np.newaxis], 3, axis=2)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (background,) * 3 + (255,))
        image = Image.alpha_composite(below, with_alpha)
    elif image.mode not in _CONVERTIBLE:
        raise ImageError(f"pixels of the kind {image.mode}")
    return np.array(image.convert("RGB") if image.mode != "RGB" else image)


def _reason(error: Exception) -> str:
    """Say in one short line what an exception of Pillow means."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | struct.error) or "truncated" in text.lower():
        return "truncated"
    readable = "".join(letter for letter in text if letter.isascii() and letter.isprintable())
    return f"damaged ({readable[:60]})" if readable else "damaged"
