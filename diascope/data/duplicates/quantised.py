"""The quantised features of a data set, in files: one for each column, appended to as they come.

There may be sixty features of a small picture and as many as 300 of a large one, so that those of a
million pictures do not fit into memory. They are only ever read from the beginning to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.visual_words import Words
from diascope.system.spill import spilling


@dataclass(frozen=True)
class Places:
    """Where features are, and how large: all that a vote needs; one entry a feature."""

    images: NDArray[np.int32]  # row of the picture that a feature belongs to
    numbers: NDArray[np.int32]  # of the feature in its picture, from 0
    angles: NDArray[np.float32]  # radians
    octaves: NDArray[np.float32]  # binary logarithm of the diameter in px

    def __len__(self) -> int:
        return len(self.images)

    def of(self, rows: NDArray | slice) -> Places:
        """Return some of them."""
        return Places(*(getattr(self, field.name)[rows] for field in fields(self)))


_PLACES = {"images": "<i4", "numbers": "<i4", "angles": "<f4", "octaves": "<f4"}
_WORDS = {"nearest": "<u2", "second": "<u2", "bits": "<u4", "second_bits": "<u4"}  # (F, 2) each


class QuantisedFeatures:
    """Features sorted by picture, written once (`add`, within a ``with`` block) and then read.

    Reading is safe from several threads.
    """

    def __init__(self, folder: Path, n_vocabularies: int) -> None:
        self.folder, self.n_vocabularies = folder, n_vocabularies
        self.n_features = 0
        self._stack = ExitStack()
        self._files = {}

    def __enter__(self) -> Self:
        names = [*_PLACES, *(f"{name}-{n}" for n in range(self.n_vocabularies) for name in _WORDS)]
        with spilling(self.folder):
            for name in names:
                self._files[name] = self._stack.enter_context(self._path(name).open("wb"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with spilling(self.folder):
            self._stack.close()

    def add(self, places: Places, words: Sequence[Words]) -> None:
        """Append features of the pictures that come next, with their words by each vocabulary.

        Raises
        ------
        SourceError
            The disk is full.
        """
        columns = {name: (getattr(places, name), kind) for name, kind in _PLACES.items()}
        for n, by_one in enumerate(words):
            columns |= {f"{name}-{n}": (getattr(by_one, name), k) for name, k in _WORDS.items()}
        with spilling(self.folder):
            for name, (values, kind) in columns.items():
                self._files[name].write(np.ascontiguousarray(values, kind).data)
        self.n_features += len(places)

    def places(self, start: int, end: int) -> Places:
        """Read features from `start` up to `end`."""
        return Places(*(self._read(name, kind, start, end, 1) for name, kind in _PLACES.items()))

    def words(self, vocabulary: int, start: int, end: int) -> Words:
        """Read the words that a vocabulary gives to features from `start` up to `end`."""
        return Words(
            *(
                self._read(f"{name}-{vocabulary}", kind, start, end, 2)
                for name, kind in _WORDS.items()
            )
        )

    def nearest(self, vocabulary: int, start: int, end: int) -> NDArray[np.uint16]:
        """Read the nearest centroids only, uint16 (F, 2)."""
        return self._read(f"nearest-{vocabulary}", "<u2", start, end, 2)

    def _read(self, name: str, kind: str, start: int, end: int, width: int) -> NDArray:
        n = max(0, min(end, self.n_features) - start)
        bytes_each = width * np.dtype(kind).itemsize
        values = np.fromfile(self._path(name), kind, n * width, offset=start * bytes_each)
        return values.reshape(n, width) if width > 1 else values

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.column"
