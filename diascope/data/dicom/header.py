"""The header of a DICOM file: read within bounds, and its numbers judged."""

from __future__ import annotations

import io
from collections.abc import Callable, MutableSequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from diascope.data.budget import check_size
from diascope.data.dicom.quiet import quiet_pydicom
from diascope.data.dicom.structure import DEFLATED, Place, inflated, read_meta, walk
from diascope.data.formats import class_of_object
from diascope.errors import ImageError
from diascope.system.extras import is_installed

if TYPE_CHECKING:
    from pydicom import Dataset

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
MAX_FRAMES = 20_000
NEEDS_EXTRA = "DICOM needs packages that are not installed: pip install 'diascope[dicom]'"
_BITS = {1, 8, 16, 32}  # that a sample may take


class Numbers(NamedTuple):
    """What a header says of the pixels; each number is possible."""

    rows: int
    columns: int
    n_frames: int
    n_samples: int  # 1 or 3 a pixel
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str  # "MONOCHROME1", ...


def dicom_errors(read: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Raise whatever pydicom and its decoders raise as an `ImageError` that quotes no value."""

    @wraps(read)
    def read_or_refuse(*given: Parameters.args, **named: Parameters.kwargs) -> Result:
        if not is_installed("dicom"):
            raise ImageError(NEEDS_EXTRA)
        try:
            with quiet_pydicom():
                return read(*given, **named)
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too big for the memory that is free") from None
        except RecursionError:
            raise ImageError("DICOM sequences that are too deep") from None
        except Exception as error:
            raise ImageError(f"damaged DICOM ({type(error).__name__})") from error

    return read_or_refuse


@dicom_errors
def read_dataset(content: bytes, *, with_pixels: bool) -> Dataset:
    """Read a DICOM file that may be hostile.

    Its structure is walked first, a deflated one is inflated up to the limit of a file, and what
    it says of its pixels is judged; a file without pixels is read, too. Nothing is decoded.

    Parameters
    ----------
    content : bytes
        The whole file, with its preamble.
    with_pixels : bool
        Whether ``PixelData`` is read as well.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``; of a deflated file, as if it had been written without compression.

    Raises
    ------
    ImageError
        The file is refused, or the extra ``dicom`` is not installed: one short line, without a
        value of the file.
    """
    return _read(content, with_pixels=with_pixels)[0]


@dicom_errors
def read_with_numbers(content: bytes) -> tuple[Dataset, Numbers]:
    """Read a DICOM file with its pixels, which must be there, and what it says of them.

    ``ImageError`` as of `read_dataset`, or that there are no pixels.
    """
    dataset, numbers = _read(content, with_pixels=True)
    return dataset, _there(dataset, numbers)


@dicom_errors
def read_numbers(content: bytes) -> tuple[Dataset, Numbers]:
    """Read what a DICOM file says of its pixels, which must be there; errors as before."""
    dataset, numbers = _read(content, with_pixels=False)
    return dataset, _there(dataset, numbers)


def _read(content: bytes, *, with_pixels: bool) -> tuple[Dataset, Numbers | None]:
    import pydicom

    meta = read_meta(content)
    if meta.syntax == DEFLATED:
        content, meta = inflated(content, meta)
    place = walk(content, meta)
    dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=not with_pixels)
    return dataset, None if place is None else _judged(dataset, place)


def _there(dataset: Dataset, numbers: Numbers | None) -> Numbers:
    if numbers is not None:
        return numbers
    if any(name in dataset for name in ("FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError("floating-point DICOM pixels have no stated range")
    raise ImageError(f"DICOM without an image ({kind_of_object(dataset)})")


def kind_of_object(dataset: Dataset) -> str:
    """Return the name of what a DICOM file is, such as ``RT Plan Storage``."""
    meta = getattr(dataset, "file_meta", {})
    uid = dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
    return _name(uid) or "of an unknown kind"


def name_of_object(content: bytes) -> str:
    """Return the name of what a DICOM file is, by its first bytes; empty where it is not known."""
    if not is_installed("dicom"):
        return ""
    from pydicom.uid import UID

    return _name(UID(class_of_object(content)))


def _name(uid: Any) -> str:
    name = getattr(uid, "name", "") or ""
    return "" if name[:1].isdigit() else name


def _judged(dataset: Dataset, place: Place) -> Numbers:
    """Return the numbers of the header; ``ImageError`` for one that is impossible or too much."""
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise ImageError(f"{columns} x {rows} px")
    check_size(columns, rows)
    numbers = Numbers(
        rows=rows,
        columns=columns,
        n_frames=_number(dataset, "NumberOfFrames", 1) or 1,
        n_samples=_number(dataset, "SamplesPerPixel", 1),
        bits_allocated=_number(dataset, "BitsAllocated"),
        bits_stored=_number(dataset, "BitsStored", _number(dataset, "BitsAllocated")),
        is_signed=_number(dataset, "PixelRepresentation", 0) == 1,
        photometric=str(dataset.get("PhotometricInterpretation", "")).strip(),
    )
    _check_samples(numbers)
    _check_frames(numbers, place)
    return numbers


def _check_samples(numbers: Numbers) -> None:
    if numbers.n_samples not in (1, 3):
        raise ImageError(f"{numbers.n_samples} samples a pixel")
    if numbers.bits_allocated not in _BITS:
        raise ImageError(f"{numbers.bits_allocated} bits a sample")
    if not 1 <= numbers.bits_stored <= numbers.bits_allocated:
        raise ImageError(f"{numbers.bits_stored} bits stored in {numbers.bits_allocated}")


def _check_frames(numbers: Numbers, place: Place) -> None:
    """Check that there may be as many frames as are promised."""
    if not 1 <= numbers.n_frames <= MAX_FRAMES:
        raise ImageError(f"{numbers.n_frames:,} frames; at most {MAX_FRAMES:,} are read")
    if place.n_fragments is None:
        n_samples = 2 if numbers.photometric == "YBR_FULL_422" else numbers.n_samples
        n_bits = numbers.rows * numbers.columns * n_samples * numbers.bits_allocated
        if place.n_bytes < n_bits * numbers.n_frames // 8:
            raise ImageError("truncated (fewer pixels than the header says)")
    elif place.n_fragments < numbers.n_frames:
        raise ImageError(f"{place.n_fragments:,} of {numbers.n_frames:,} frames are there")


def _number(dataset: Dataset, name: str, default: int | None = None) -> int:
    """Return a whole number of the header; the first one where there are several."""
    try:
        value: Any = dataset.get(name)
    except ValueError:
        raise ImageError(f"{name} is not a whole number") from None
    if isinstance(value, MutableSequence) and value:
        value = value[0]
    if value is None or value == "":
        if default is None:
            raise ImageError(f"DICOM without {name}")
        return default
    try:
        return int(str(value))
    except ValueError:
        raise ImageError(f"{name} is not a whole number") from None
