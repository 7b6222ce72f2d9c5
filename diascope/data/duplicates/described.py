"""Features of many pictures: written to files as they are found, and read picture by picture.

A file holds the pictures of one part of a data set: `MAGIC`, the numbers of pictures and features
(int64), then flat arrays: features of each picture (int32), height and width of each (int32 x 2),
geometry (float32 x 4 a feature) and descriptors (uint8 x 128), all little-endian. Of a picture that
is not described the height and width are 0. In memory there are 16 bytes a picture.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.flatten import flatten
from diascope.data.duplicates.local_features import Features, describe
from diascope.errors import SourceError
from diascope.system.files import atomic_path
from diascope.system.spill import FIX

MAGIC = b"DIAFEAT1"
HEADER_BYTES = len(MAGIC) + 16
GEOMETRY_BYTES, DESCRIPTOR_BYTES = 16, 128  # a feature

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Described:
    """The features of one picture, and its height and width in px."""

    features: Features
    shape: tuple[int, int]


def describe_picture(image: NDArray[np.uint8]) -> Described:
    """Describe a picture, uint8 (H, W, 3), 0-255."""
    height, width = image.shape[:2]
    return Described(describe(*flatten(image)), (height, width))


def write_described(path: Path, pictures: Sequence[Described | None]) -> None:
    """Write the features of some pictures, atomically; None of one that is not described.

    Raises
    ------
    SourceError
        The disk is full, or the folder cannot be written to.
    """
    there = [one for one in pictures if one is not None]
    counts = np.array([0 if one is None else len(one.features) for one in pictures], "<i4")
    shapes = np.array([(0, 0) if one is None else one.shape for one in pictures], "<i4")
    with atomic_path(path, is_cache=True) as temporary, temporary.open("wb") as file:
        file.write(MAGIC)
        file.write(np.array([len(pictures), counts.sum()], "<i8").tobytes())
        file.write(counts.tobytes())
        file.write(shapes.tobytes())
        for one in there:
            file.write(np.ascontiguousarray(one.features.geometry, "<f4").data)
        for one in there:
            file.write(np.ascontiguousarray(one.features.descriptors).data)


class DescribedPictures:
    """The pictures of some files, one after the other: ``described[number]``.

    To be used from several threads.

    Parameters
    ----------
    paths : sequence of Path
        Written by `write_described`.

    Raises
    ------
    SourceError
        A file is missing or not whole.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        read = [_read_counts(path) for path in self.paths]
        none = np.zeros(0, np.int32)
        sizes = [len(counts) for counts, _ in read]
        self.counts = np.concatenate([none, *(counts for counts, _ in read)])
        self._shapes = np.concatenate([none.reshape(0, 2), *(shapes for _, shapes in read)])
        self._shapes = self._shapes.astype(np.uint16)  # no side is longer than 30,000 px
        # of each file: the number of its first picture
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        # of each picture: the features before it in its file
        starts = [np.cumsum(counts, dtype=np.int64) - counts for counts, _ in read]
        self._starts = np.concatenate([np.zeros(0, np.int64), *starts])
        self._n_features = [int(counts.sum(dtype=np.int64)) for counts, _ in read]

    def __len__(self) -> int:
        return len(self.counts)

    def shape(self, number: int) -> tuple[int, int]:
        """Return the height and the width of a picture, in px."""
        height, width = self._shapes[number].tolist()
        return height, width

    def __getitem__(self, number: int) -> Described:
        """Read the features of a picture; ``SourceError`` where its file is gone or cut off."""
        place = int(np.searchsorted(self._first, number, side="right")) - 1
        start, count = int(self._starts[number]), int(self.counts[number])
        n_pictures = int(self._first[place + 1] - self._first[place])
        geometry_at = HEADER_BYTES + 12 * n_pictures
        descriptors_at = geometry_at + GEOMETRY_BYTES * self._n_features[place]
        path = self.paths[place]
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(geometry_at + GEOMETRY_BYTES * start)
                geometry = np.frombuffer(file.read(GEOMETRY_BYTES * count), "<f4")
                file.seek(descriptors_at + DESCRIPTOR_BYTES * start)
                descriptors = np.frombuffer(file.read(DESCRIPTOR_BYTES * count), np.uint8)
            features = Features(geometry.reshape(count, 4), descriptors.reshape(count, 128))
        except (OSError, ValueError) as error:
            raise _damaged(path) from error
        return Described(features, self.shape(number))


def _read_counts(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the features, and the height and width, of each picture of a file."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
            n_pictures, n_features = np.fromfile(file, "<i8", 2).tolist()
            counts = np.fromfile(file, "<i4", n_pictures)
            shapes = np.fromfile(file, "<i4", 2 * n_pictures).reshape(n_pictures, 2)
        n_bytes = (GEOMETRY_BYTES + DESCRIPTOR_BYTES) * n_features
        is_whole = path.stat().st_size == HEADER_BYTES + 12 * n_pictures + n_bytes
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if magic != MAGIC or not is_whole or counts.sum(dtype=np.int64) != n_features:
        raise _damaged(path)
    return counts, shapes


def _damaged(path: Path) -> SourceError:
    return SourceError("Features that were set aside are gone or damaged.", where=path, fix=FIX)


class Kept(Generic[Value]):
    """Values by a number, those last used, while they fit into the memory meant for them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._values: OrderedDict[int, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int) -> Value | None:
        """Return a value, or None where it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: int, value: Value, n_bytes: int) -> None:
        """Keep a value, in the place of those not used for longest."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value, n_bytes
            self._bytes += n_bytes
            while self._bytes > self._max_bytes:
                _, (_, n_dropped) = self._values.popitem(last=False)
                self._bytes -= n_dropped
