"""Silence for pydicom: its warnings and records quote values, and those are of patients."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils")
_OURS = re.compile(r"pydicom(\.|$)")


class _Silence:
    """Counts who reads: the first one in silences, the last one out restores.

    ``warnings.catch_warnings`` would not do: of two threads that overlap, the one that ends last
    restores what the other had set.
    """

    def __init__(self) -> None:
        self._lock, self._n_readers = threading.Lock(), 0

    def begin(self) -> None:
        with self._lock:
            self._n_readers += 1
            if self._n_readers == 1:
                warnings.filterwarnings("ignore", module=_OURS.pattern)
                for name in _LOGGERS:
                    logging.getLogger(name).addFilter(_nothing)

    def end(self) -> None:
        with self._lock:
            self._n_readers -= 1
            if self._n_readers == 0:
                for one in [one for one in _filters() if one[3] == _OURS]:
                    _filters().remove(one)
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(_nothing)


def _filters() -> list[tuple[Any, ...]]:
    return cast("list[tuple[Any, ...]]", warnings.filters)


def _nothing(record: logging.LogRecord) -> bool:  # noqa: ARG001 - none is let through
    return False


_SILENCE = _Silence()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging while a file is read; safe in several threads."""
    _SILENCE.begin()
    try:
        yield
    finally:
        _SILENCE.end()
