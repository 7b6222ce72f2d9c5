"""What the headers of many files say: by their beginnings, and whole files one at a time.

Nearly always the first `HEAD_BYTES` of a file, and as many of one that is deflated, hold what is
asked for. A file that hides it behind more is read, inflated and parsed whole, while no other is:
so the memory is that of one such file, however many threads there are.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from diascope.data.dicom.frames import HEAD_BYTES
from diascope.data.dicom.header import dicom_errors, read_dataset
from diascope.data.dicom.structure import before_element_behind
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

Read = Callable[[], bytes]
ReadStart = Callable[[str, int], bytes]  # so many of the first bytes of a file of this name
Found = TypeVar("Found")
MOST_READ_AT_ONCE = 4  # files that are read whole, of which only the beginning is kept
ONE_AT_A_TIME = threading.RLock()  # held while a whole file is inflated and parsed
_READ_AT_ONCE = threading.BoundedSemaphore(MOST_READ_AT_ONCE)


def head_of(name: str, read: Read, read_start: ReadStart | None) -> bytes:
    """Return the first bytes of a file, `HEAD_BYTES` of them or all."""
    if read_start is not None:
        return read_start(name, HEAD_BYTES)
    with _READ_AT_ONCE:
        return read()[:HEAD_BYTES]


@dicom_errors
def look_at_header(
    head: bytes, read: Read, look: Callable[[Dataset], Found], *, last: int
) -> Found:
    """Return what ``look`` finds in the header of a DICOM file that may be hostile.

    Parameters
    ----------
    head : bytes
        Of `head_of`; of DICOM.
    read : function
        Reads the whole file.
    look : function
        Takes what was read: the elements at the top level up to ``last``, and maybe more.
    last : int
        The last tag that ``look`` needs.

    Raises
    ------
    ImageError
        As of `diascope.data.dicom.header.read_dataset`. What is damaged behind the elements is not
        seen here where the beginning suffices.
    """
    import pydicom

    try:
        beginning = before_element_behind(head, last, most_bytes=HEAD_BYTES)
    except ImageError:
        beginning = None
    if beginning is not None:
        return look(pydicom.dcmread(io.BytesIO(beginning)))
    with ONE_AT_A_TIME:
        return look(read_dataset(read(), with_pixels=False))
