"""One opened image file: its header is read and judged, and its pixels are there when asked for.

Three kinds share what they offer: files that Pillow reads, Netpbm, which is read here, and DICOM.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from diascope.data import jpeg, netpbm, png
from diascope.data.budget import TimedFile, check_memory, check_size
from diascope.data.dicom.opened import DicomImage
from diascope.data.opened import OpenedImage
from diascope.errors import ImageError

# The readers are called by name, and not through Image.open, which warns about big images by a
# limit of its own and cannot be silenced without changing the settings of all threads.
_READERS: dict[str, type[ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "DIB": BmpImagePlugin.DibImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
}
_CONVERTIBLE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_WITH_ALPHA = frozenset({"LA", "PA", "RGBA", "RGBa"})
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_TILE_WIDTH, _TILE_HEIGHT, _ORIENTATION = 322, 323, 274
_SIGNED = 2
_ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # what may tell it
STRIP_PIXELS = 1_000_000  # converted at a time, so that a large image is not in memory four times

# Bytes a pixel that Pillow keeps by its mode, and that decoding takes besides by the format.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_BESIDES = {"WEBP": 16, "AVIF": 16, "JPEG 2000": 20, "TIFF": 4}
_RESULT = 3  # bytes a pixel


class NetpbmImage(OpenedImage):
    """A PBM, PGM, PPM or PAM file."""

    def __init__(self, content: bytes) -> None:
        self._content, self._header = content, netpbm.read_header(content)
        self.width, self.height = self._header.width, self._header.height
        check_size(self.width, self.height)
        netpbm.check_promise(content, self._header)
        self.is_deep = self._header.maximum > 255
        n_pixels = self.width * self.height
        self.decoded_bytes = 2 * len(content) + self._header.decoded_bytes + 3 * n_pixels

    def rgb(self, background: int) -> NDArray[np.uint8]:
        """Return the pixels of an image of 8 bits."""
        return over_background(self._read(), background)

    def values(self) -> NDArray[np.uint16]:
        """Return the samples of an image of 16 bits, scaled by the maximum that is stated."""
        return self._read().astype(np.uint16, copy=False)

    def _read(self) -> NDArray:
        return netpbm.read_values(self._content, self._header)


class PillowImage(OpenedImage):
    """A file of any other format."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content, self._kind, self._jpeg = content, kind, None
        if kind == "JPEG":
            self._jpeg = jpeg.read_segments(content)
            content = jpeg.without_end(content, self._jpeg)
        self._file = TimedFile(content)
        self._image = _READERS[kind](self._file)
        self.width, self.height = self._image.size
        check_size(self.width, self.height)
        self._file.allow_for(self.width * self.height)
        if self._jpeg is not None:
            jpeg.check_scans(self._jpeg, self.width * self.height)
        self._check_frames()
        self._check_samples()
        if kind == "PNG":
            self._check_transparency()
            png.check_promise(content, self._image.size)
        self.is_deep = self._is_deep()
        self.decoded_bytes = self._decoded_bytes()

    def rgb(self, background: int) -> NDArray[np.uint8]:
        """Return the pixels of an image of 8 bits, upright."""
        self._load()
        hides_all = self._image.mode in _WITH_ALPHA and not np.max(self._image.getextrema()[-1])
        if hides_all:  # alpha that hides everything is alpha that nobody uses
            pixels, _ = self._converted(None)
        else:
            pixels, highest_alpha = self._converted(background)
            if highest_alpha == 0:  # as of a palette that is transparent throughout
                pixels, _ = self._converted(None)
        return self._upright(pixels, self._orientation())

    def values(self) -> NDArray[np.uint16]:
        """Return the samples of an image of 16 bits, upright."""
        as_stored = self._orientation()
        self._load()
        if self._image.mode.startswith("I;16"):
            values = np.asarray(self._image)[:, :, np.newaxis].astype(np.uint16)
            if getattr(self._image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,):
                values = values << 4 | values >> 8  # 4095 is stated to be white
            return self._upright(values, self._orientation())
        seen, _ = self._converted(None)
        found = cv2.imdecode(np.frombuffer(self._content, np.uint8), cv2.IMREAD_UNCHANGED)
        n_channels = 4 if self._image.mode == "RGBA" else 3
        if found is None or found.dtype != np.uint16 or found.shape[2:] != (n_channels,):
            raise ImageError("16-bit colours of an unknown kind")
        values = np.ascontiguousarray(found[:, :, [2, 1, 0, 3][:n_channels]], np.uint16)
        values, seen = self._upright(values, as_stored), self._upright(seen, self._orientation())
        if not np.array_equal(seen, values[:, :, :3] >> 8):
            raise ImageError("16-bit colours that two decoders read differently")
        return values

    def _load(self) -> None:
        scans = self._jpeg
        expected = None
        if scans is not None and scans.n_scans > 1:
            expected = jpeg.digest_with_filler(self._content, scans)
        self._image.load()
        if self._kind == "PNG":
            png.check_whole(self._content, self._image)
        if expected is not None and jpeg.digest(self._image) != expected:
            raise ImageError("truncated")

    def _converted(self, background: int | None) -> tuple[NDArray[np.uint8], int]:
        """Return the pixels in RGB, uint8 (H, W, 3), and the highest alpha, 0-255.

        Without a background the colours are shown as they are, whatever alpha says.
        """
        width, height = self._image.size
        n_rows = max(1, STRIP_PIXELS // width)
        if n_rows >= height:
            converted, highest_alpha = _in_rgb(self._image, background)
            return np.array(converted), highest_alpha
        pixels, highest_alpha = np.empty((height, width, 3), np.uint8), 0
        for top in range(0, height, n_rows):
            bottom = min(top + n_rows, height)
            strip, alpha = _in_rgb(self._image.crop((0, top, width, bottom)), background)
            highest_alpha = max(highest_alpha, alpha)
            pixels[top:bottom] = np.asarray(strip)
        return pixels, highest_alpha

    def _orientation(self) -> int:
        """Return the EXIF orientation, 1 to 8; 1 once Pillow has turned a TIFF upright."""
        if self._kind != "TIFF" and _ORIENTED.isdisjoint(self._image.info):
            return 1  # without the time that Pillow takes to look
        return self._image.getexif().get(_ORIENTATION, 1)

    @staticmethod
    def _upright(pixels: NDArray, orientation: int) -> NDArray:
        """Turn or mirror (H, W, C) as an EXIF orientation says."""
        if orientation in (5, 6, 7, 8):
            pixels = pixels.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)

    def _check_frames(self) -> None:
        n_frames = getattr(self._image, "n_frames", 1)
        if n_frames > 1:
            raise ImageError(f"{n_frames} frames in one file")

    def _check_samples(self) -> None:
        """Refuse pixels of which the file does not state what is black and what is white."""
        image, tags = self._image, getattr(self._image, "tag_v2", {})
        if image.mode == "F":
            raise ImageError("32-bit float pixels have no stated range")
        if image.mode == "I" or _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
            raise ImageError("32-bit or signed pixels have no stated range")
        if self._kind == "TIFF" and image.mode.startswith("I;16"):
            if tags.get(_BITS_PER_SAMPLE) not in ((12,), (16,)):
                raise ImageError("pixels of an unknown number of bits")
            if tags.get(_PHOTOMETRIC) == 0:
                raise ImageError("16-bit pixels with white as zero")

    def _check_transparency(self) -> None:
        """Refuse a transparent colour that Pillow would look for at another bit depth."""
        if self._image.mode != "P" and "transparency" in self._image.info:
            n_bits = png.bit_depth(self._content)
            if n_bits not in (1, 8):
                raise ImageError(f"{n_bits}-bit pixels with a transparent colour")

    def _is_deep(self) -> bool:
        if self._image.mode.startswith("I;16"):
            return True
        if self._image.mode not in ("RGB", "RGBA"):
            return False
        if self._kind == "PNG":
            return png.bit_depth(self._content) == 16
        bits = getattr(self._image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
        return self._kind == "TIFF" and set(bits) == {16}

    def _decoded_bytes(self) -> int:
        stored = _STORED.get(self._image.mode, 4)
        besides = _BESIDES.get(self._kind, 0)
        if self._jpeg is not None and self._jpeg.n_scans > 1:
            besides = 2 * self._jpeg.n_components
        if self.is_deep:
            besides = 7 if stored == 2 else 16
        tags = getattr(self._image, "tag_v2", {})
        tile_bytes = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0) * 4
        n_pixels = self.width * self.height
        return len(self._content) + tile_bytes + n_pixels * (stored + max(_RESULT, besides))


def over_background(samples: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """Lay samples, uint8 (H, W, C), over a grey of 0-255: uint8 (H, W, 3).

    The last of two or four channels is alpha, and one or two are grey.
    """
    height, width, n_channels = samples.shape
    if n_channels in (1, 3):
        return np.array(np.broadcast_to(samples, (height, width, 3)))
    if not samples[:, :, -1].any():  # alpha that hides everything is alpha that nobody uses
        return over_background(samples[:, :, :-1], background)
    pixels, n_rows = np.empty((height, width, 3), np.uint8), max(1, STRIP_PIXELS // width)
    for top in range(0, height, n_rows):
        strip, _ = _in_rgb(Image.fromarray(samples[top : top + n_rows]), background)
        pixels[top : top + n_rows] = np.asarray(strip)
    return pixels


def _in_rgb(image: Image.Image, background: int | None) -> tuple[Image.Image, int]:
    """Convert an image to RGB, over a grey of 0-255 if there is one; also its highest alpha."""
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        highest_alpha = int(np.max(image.getchannel("A").getextrema()))
        if background is not None:
            below = Image.new("RGBA", image.size, (background,) * 3 + (255,))
            image = Image.alpha_composite(below, image)
        return image.convert("RGB"), highest_alpha
    if image.mode not in _CONVERTIBLE:
        raise ImageError(f"pixels of the kind {image.mode}")
    return (image if image.mode == "RGB" else image.convert("RGB")), 255


def open_kind(content: bytes, kind: str) -> OpenedImage:
    """Read the header of a file of this kind, see `diascope.data.formats.kind_of`."""
    if kind == "DICOM":
        opened = DicomImage(content)
    else:
        opened = NetpbmImage(content) if kind == "PNM" else PillowImage(content, kind)
    check_memory(opened.width, opened.height, opened.decoded_bytes)
    return opened
