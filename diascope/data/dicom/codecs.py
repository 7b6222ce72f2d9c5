"""The decoder of each transfer syntax, one and always the same, whatever else is installed.

GDCM and pylibjpeg-libjpeg are never used. pydicom's own registry is left as it is.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diascope.data.dicom.codestream import check_j2k, check_jpeg
from diascope.data.dicom.header import Numbers
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder, DecodeRunner

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
BIG_ENDIAN, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
J2K = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)}
_JPEG = {BASELINE, EXTENDED, *LOSSLESS, *JPEG_LS}
_PLUGIN = "diascope"

DECODER_DEPENDENCIES: dict[str, tuple[str, ...]] = {}  # that pydicom looks for in a plugin


def is_decoded(syntax: Any) -> bool:
    """Say whether a transfer syntax, by its UID, is one that is decoded."""
    return str(syntax) in {*NATIVE, RLE, *_JPEG, *J2K}


def check_syntax(syntax: Any) -> None:
    """Refuse a transfer syntax that is not decoded, by its name; ``ImageError``."""
    if not is_decoded(syntax):
        known = getattr(syntax, "name", "")
        name = known if known and not known[0].isdigit() else "an unknown transfer syntax"
        raise ImageError(f"not decoded: {name}")


def stored_pixels(dataset: Dataset, numbers: Numbers) -> NDArray[Any]:
    """Decode the pixels of a file with one frame, colours in RGB.

    Returns
    -------
    ndarray
        Integers (H, W) or (H, W, 3), as stored, without the bits that are not.

    Raises
    ------
    ImageError
        The compressed data do not fit to the header.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if str(syntax) not in NATIVE:
        from pydicom.encaps import get_frame

        _check_frame(get_frame(dataset.PixelData, 0, number_of_frames=1), str(syntax), numbers)
    array, _ = _decoder(syntax).as_array(dataset, index=0, decoding_plugin=_plugin_of(syntax))
    if numbers.n_samples == 3 and array.ndim == 2:
        raise ImageError("colours that are grey")
    return _with_sign(array, numbers) if numbers.is_signed else array


def _with_sign(array: NDArray[Any], numbers: Numbers) -> NDArray[Any]:
    """Return signed values whose sign is the last stored bit, whatever the bits above it are.

    A codestream may have more bits than are stored, and those are 0 or repeat the sign.
    """
    half = 1 << (numbers.bits_stored - 1)
    if array.size == 0 or -half <= array.min() < 0 or array.max() < half:
        return array
    values = array.astype(np.int64) & (2 * half - 1)
    return (values ^ half) - half


def _check_frame(frame: bytes, syntax: str, numbers: Numbers) -> None:
    if syntax in J2K:
        check_j2k(frame, numbers)
    elif syntax in _JPEG:
        check_jpeg(frame, numbers)


def _plugin_of(syntax: str) -> str:
    return "" if str(syntax) in NATIVE else _PLUGIN


@cache
def _decoder(syntax: Any) -> Decoder:
    """Return a decoder of our own: one that pydicom offers may get plugins from others."""
    from pydicom.pixels.decoders.base import Decoder

    decoder = Decoder(syntax)
    if str(syntax) not in NATIVE:
        decoder.add_plugin(_PLUGIN, (__name__, "decode"))
    return decoder


def is_available(uid: str) -> bool:  # noqa: ARG001 - the interface of a plugin
    """Say that there is a decoder: the extra ``dicom`` has them all."""
    return True


def decode(frame: bytes, runner: DecodeRunner) -> Any:
    """Decode one frame, as pydicom's plugins do."""
    syntax = str(runner.transfer_syntax)
    if syntax == RLE:
        return _decode_rle(frame, runner)
    if syntax in J2K:
        from pydicom.pixels.decoders.pylibjpeg import _decode_frame

        return _decode_frame(frame, runner)
    if syntax in JPEG_LS:
        from pydicom.pixels.decoders.pyjpegls import _decode_frame

        return _decode_frame(frame, runner)
    if syntax == BASELINE or (syntax == EXTENDED and runner.bits_stored == 8):
        from pydicom.pixels.decoders.pillow import _decode_frame

        return _decode_frame(frame, runner)
    return _decode_jpeg(frame, runner)


def _decode_jpeg(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode lossless JPEG, and that of 12 bits."""
    import imagecodecs

    array = imagecodecs.jpeg_decode(frame)
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return array.tobytes()


def _decode_rle(frame: bytes, runner: DecodeRunner) -> bytearray:
    """Decode RLE into the room of the frame and no more: a run takes 64 times its bytes."""
    import imagecodecs

    n_bytes = runner.bits_allocated // 8
    room = bytearray(runner.rows * runner.columns * runner.samples_per_pixel * n_bytes)
    decoded = imagecodecs.dicomrle_decode(frame, f"<u{n_bytes}", out=room)
    if len(decoded) < len(room):
        raise ImageError("truncated")
    runner.set_option("planar_configuration", 1)
    return room
