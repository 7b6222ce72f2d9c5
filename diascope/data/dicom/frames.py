"""The frames of a DICOM file, each as a file of its own that is made in memory."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

from diascope.data.dicom.codecs import NATIVE, is_decoded
from diascope.data.dicom.header import Numbers, dicom_errors, read_numbers
from diascope.data.dicom.structure import DEFLATED, find_value, inflated_start, read_meta
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

HEAD_BYTES = 1 << 16  # that nearly always tell how many frames there are
NUMBER_OF_FRAMES = 0x00280008
_PIXEL_DATA = 0x7FE00010
_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


def is_single(head: bytes) -> bool:
    """Say whether the beginning of a DICOM file tells that it has one frame, or is not decoded."""
    try:
        meta = read_meta(head)
        if meta.syntax == DEFLATED:
            head, meta = inflated_start(head, meta, most_bytes=HEAD_BYTES)
        value = find_value(head, meta, NUMBER_OF_FRAMES)
    except ImageError:
        return False
    return not is_decoded(meta.syntax) or value is None or value.strip(b" \0") in (b"", b"1")


def count_frames(content: bytes) -> int:
    """Return how many frames a DICOM file has; 1 for one that is refused, which opening says."""
    try:
        dataset, numbers = read_numbers(content)
    except ImageError:
        return 1
    return numbers.n_frames if is_decoded(dataset.file_meta.TransferSyntaxUID) else 1


@dicom_errors
def single_frame(dataset: Dataset, numbers: Numbers, index: int) -> bytes:
    """Return one frame of a file as a DICOM file with one frame.

    What the header says of this frame stays, and what it says of the others goes.

    Parameters
    ----------
    dataset : Dataset
        Of `diascope.data.dicom.header.read_with_numbers`.
    index : int
        From 0.

    Raises
    ------
    ImageError
        There is no such frame, or it cannot be told from the others.
    """
    import pydicom

    if not 0 <= index < numbers.n_frames:
        raise ImageError(f"there is no frame {index + 1} of {numbers.n_frames}")
    frame = pydicom.Dataset()
    frame.update({element.tag: element for element in _raw_elements(dataset)})
    frame.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
    frame.file_meta = dataset.file_meta
    frame.add_new(NUMBER_OF_FRAMES, "IS", 1)  # anew: the elements are shared with the file
    if groups := dataset.get(_PER_FRAME):
        if len(groups) < numbers.n_frames:
            raise ImageError("damaged DICOM (functional groups)")
        frame.add_new(
            pydicom_tag(_PER_FRAME), "SQ", pydicom.Sequence([copy.deepcopy(groups[index])])
        )
    is_native = str(dataset.file_meta.TransferSyntaxUID) in NATIVE
    pixels = (
        _native(dataset, numbers, index) if is_native else _encapsulated(dataset, numbers, index)
    )
    frame.add_new(_PIXEL_DATA, dataset[_PIXEL_DATA].VR, pixels)
    frame[_PIXEL_DATA].is_undefined_length = not is_native
    frame.preamble = b"\0" * 128
    file = io.BytesIO()
    pydicom.dcmwrite(file, frame, enforce_file_format=False)  # a file may lack what it should have
    return file.getvalue()


def _raw_elements(dataset: Dataset) -> list[Any]:
    """Return the elements that a frame shares with the others, as they were read."""
    names = (_PER_FRAME, *_OFFSETS)
    left_out = {_PIXEL_DATA, NUMBER_OF_FRAMES, *(pydicom_tag(name) for name in names)}
    return [dataset.get_item(tag) for tag in sorted(dataset.keys()) if tag not in left_out]


def pydicom_tag(name: str) -> int:
    """Return the tag of a keyword."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(name) or 0


def _native(dataset: Dataset, numbers: Numbers, index: int) -> bytes:
    n_samples = 2 if numbers.photometric == "YBR_FULL_422" else numbers.n_samples
    n_bits = numbers.rows * numbers.columns * n_samples * numbers.bits_allocated
    if n_bits % 16 and numbers.bits_allocated == 1:
        raise ImageError("1-bit frames that share a byte")
    n_bytes = n_bits // 8
    pixels = dataset.PixelData[index * n_bytes : (index + 1) * n_bytes]
    return pixels + b"\0" * (len(pixels) % 2)


def _encapsulated(dataset: Dataset, numbers: Numbers, index: int) -> bytes:
    from pydicom.encaps import encapsulate, get_frame

    tables = [dataset.get(name) for name in _OFFSETS]
    offsets = (tables[0], tables[1]) if all(tables) else None
    frame = get_frame(
        dataset.PixelData, index, number_of_frames=numbers.n_frames, extended_offsets=offsets
    )
    return encapsulate([frame])
