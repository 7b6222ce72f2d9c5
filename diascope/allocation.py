"""Keep the memory that a step of training frees, rather than return it and ask for it anew."""

from __future__ import annotations

import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte of what is freed; elsewhere nothing happens.

    A step of training frees and takes the same large arrays each time, and the system clears every
    page that it hands out: steps are about 15 % faster without that (benchmarks/speed.md).
    """
    if sys.platform != "linux":
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another library of C
        return
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
