"""What one file may take: bytes, pixels and seconds, shared by the threads that decode.

A file beyond it is refused like a damaged one: it is a row with a reason, and the others go on.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from diascope.errors import ImageError

MAX_FILE_BYTES = 256_000_000
MAX_SIDE_PX = 30_000
MAX_PIXELS = 100_000_000
MAX_DECODED_BYTES = 450_000_000  # of a file and of all that is made of it, at one time
MAX_SECONDS = 1.0  # of a processor, and one more for every so many pixels:
PIXELS_A_SECOND = 10_000_000
THREADS_A_SHARE = 4  # so many threads decode with the memory of one file of the largest kind
SMALL_BYTES = 16_000_000  # of which as many as there are threads fit into any memory


def check_size(width: int, height: int) -> None:
    """Refuse an image by the size in its header; ``ImageError``."""
    if max(width, height) > MAX_SIDE_PX:
        raise ImageError(f"{width} x {height} px is over the limit of {MAX_SIDE_PX} px a side")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"{width} x {height} px is over the limit of {limit} million pixels")


def check_memory(width: int, height: int, n_bytes: int) -> None:
    """Refuse an image that would take ``n_bytes`` to decode, where that is too much."""
    if n_bytes > MAX_DECODED_BYTES:
        needed, limit = (number // 1_000_000 for number in (n_bytes, MAX_DECODED_BYTES))
        raise ImageError(f"{width} x {height} px need {needed} MB, over the limit of {limit} MB")


class TimedFile(io.BytesIO):
    """The content of a file, which can be read for so long and no longer.

    What a decoder does between two reads is not stopped. Only the time of the processor counts, so
    that a busy machine refuses no other files than an idle one.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.seconds = MAX_SECONDS
        self._began = time.perf_counter()
        self._started = time.thread_time()

    def allow_for(self, n_pixels: int) -> None:
        """Give the seconds that so many pixels may take."""
        self.seconds = MAX_SECONDS + n_pixels / PIXELS_A_SECOND

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; ``ImageError`` once the time is over."""
        is_late = time.perf_counter() - self._began > self.seconds  # the faster clock first
        if is_late and time.thread_time() - self._started > self.seconds:
            raise ImageError(f"takes over {self.seconds:.3g} s to decode")
        return super().read(size)


class Room:
    """Memory that threads take while they decode; who finds too little waits for the others."""

    def __init__(self, n_bytes: int) -> None:
        self._free = self._all = n_bytes
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Wait until so many bytes are free, and take them; not to be nested.

        Of a small image nothing is counted.
        """
        if n_bytes < SMALL_BYTES:
            yield
            return
        wanted = min(n_bytes, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


ROOM = Room(MAX_DECODED_BYTES * max(1, (os.cpu_count() or 1) // THREADS_A_SHARE))
