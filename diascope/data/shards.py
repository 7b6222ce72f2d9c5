"""The images of a pack, in one file or in several: an array that is read by rows.

A shard is an ``.npy`` file of whole rows, in order. Beside it lies its checksums: the CRC-32 of
every row, and then of every block of the file, so that a few rows can be checked as well as all.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.system.array_cache import BLOCK_BYTES

SHARD_BYTES = 1 << 30  # about; a shard is also what is written again where a byte is damaged
MAPS = 256  # shards that are open at once: each is an open file


@dataclass(frozen=True)
class Layout:
    """How the rows of a pack are parted into files."""

    n_images: int
    size_px: int
    rows_a_shard: int

    @classmethod
    def of(cls, n_images: int, size_px: int, *, shard_bytes: int) -> Layout:
        """Return the layout with shards of about so many bytes."""
        return cls(n_images, size_px, max(1, shard_bytes // (3 * size_px**2)))

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return self.size_px, self.size_px, 3

    @property
    def row_bytes(self) -> int:
        """The bytes of an image."""
        return 3 * self.size_px**2

    @property
    def shards(self) -> range:
        """The numbers of the shards; there is one at least, which may be empty."""
        return range(max(1, -(-self.n_images // self.rows_a_shard)))

    def rows(self, shard: int) -> range:
        """Return the rows that a shard holds."""
        start = shard * self.rows_a_shard
        return range(start, min(start + self.rows_a_shard, self.n_images))

    def header(self, shard: int) -> bytes:
        """Return how the file of a shard begins."""
        text = io.BytesIO()
        about = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": (len(self.rows(shard)), *self.row_shape),
        }
        np.lib.format.write_array_header_1_0(text, about)
        return text.getvalue()

    def n_bytes(self, shard: int) -> int:
        """Return the bytes of the file of a shard."""
        return len(self.header(shard)) + len(self.rows(shard)) * self.row_bytes

    def n_checksums(self, shard: int) -> int:
        """Return the number of its checksums: of its rows and of the blocks of its file."""
        return len(self.rows(shard)) + -(-self.n_bytes(shard) // BLOCK_BYTES)


def shard_name(shard: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{shard:05}.npy"


def checksums_name(shard: int) -> str:
    """Return the name of the file with the checksums of a shard."""
    return f"shard-{shard:05}.crc32.npy"


class ShardedImages(ABC):
    """Images that lie in several files, indexed by row as an array uint8 (N, S, S, 3) is.

    Only what is asked for is read. A slice may be a view of the file; all else is a copy.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.shape = (layout.n_images, *layout.row_shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all images."""
        return len(self) * self._layout.row_bytes

    @property
    def size(self) -> int:
        """The number of values."""
        return self.nbytes

    def __len__(self) -> int:
        return self._layout.n_images

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[row] for row in range(len(self)))

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> NDArray[np.uint8]:
        """Read all images."""
        if copy is False:
            raise ValueError("images in several files are copied into one array")
        return np.array(self[:], dtype=dtype)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return images by number, slice, whole numbers or truth values.

        More entries choose within each image: whole numbers and slices only.
        """
        index, within = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        if any(not isinstance(one, (int, np.integer, slice)) for one in within):
            raise IndexError("within an image, only whole numbers and slices choose")
        found = self._at(index)
        if not within:
            return found
        is_one = found.ndim < self.ndim
        return found[within] if is_one else found[(slice(None), *within)]

    def _at(self, index: Any) -> NDArray[np.uint8]:
        if isinstance(index, slice):
            chosen = range(len(self))[index]
            if chosen.step == 1:
                return self._run(chosen.start, max(chosen.start, chosen.stop))
            return self._read(np.arange(chosen.start, chosen.stop, chosen.step))
        rows = self._numbers(index)
        flat = rows.reshape(-1)
        if rows.ndim == 0:
            return self._run(int(flat[0]), int(flat[0]) + 1)[0]
        is_run = len(flat) > 1 and flat[-1] - flat[0] == len(flat) - 1
        if is_run and (flat[1:] - flat[:-1] == 1).all():
            found = self._run(int(flat[0]), int(flat[-1]) + 1)
            return found if found.flags.writeable else found.copy()
        return self._read(flat).reshape(*rows.shape, *self._layout.row_shape)

    def _numbers(self, index: Any) -> NDArray[np.int64]:
        """Return rows from 0 on, in the shape of whole numbers or truth values; `IndexError`."""
        rows = np.asarray(index)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"truth values of shape {rows.shape} for {len(self)} images")
            rows = np.flatnonzero(rows)
        elif rows.size and rows.dtype.kind not in "iu":
            raise IndexError(f"images are chosen by whole numbers, not by {rows.dtype}")
        rows = rows.astype(np.int64)
        low, high = (rows.min(), rows.max()) if rows.size else (0, -1)
        if low < -len(self) or high >= len(self):
            outside = high if high >= len(self) else low
            raise IndexError(f"there are {len(self)} images, and no row {outside}")
        return np.where(rows < 0, rows + len(self), rows) if low < 0 else rows

    @abstractmethod
    def _run(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return rows in a run; it may be a view."""

    @abstractmethod
    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return rows in any order, in an array of its own."""


class MappedShards(ShardedImages):
    """Shards on a disk, memory-mapped."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        super().__init__(layout)
        self._folder = folder
        self._map = lru_cache(MAPS)(self._opened)

    def _opened(self, shard: int) -> NDArray[np.uint8]:
        mapped = np.load(self._folder / shard_name(shard), mmap_mode="r")
        return mapped.view(np.ndarray).reshape(-1)  # without the cost of a subclass

    def _run(self, start: int, end: int) -> NDArray[np.uint8]:
        size, n_bytes = self._layout.rows_a_shard, self._layout.row_bytes
        parts = []
        while start < end:
            shard, first = divmod(start, size)
            last = min(end - shard * size, size)
            parts.append(self._map(shard)[first * n_bytes : last * n_bytes])
            start = shard * size + last
        found = parts[0] if len(parts) == 1 else np.concatenate(parts or [self._map(0)[:0]])
        return found.reshape(-1, *self._layout.row_shape)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        n_bytes = self._layout.row_bytes
        shards, starts = np.divmod(rows, self._layout.rows_a_shard)
        starts *= n_bytes
        maps = {shard: self._map(shard).data for shard in np.unique(shards).tolist()}
        # joining views costs less a row than indexing arrays does
        images = bytearray().join(
            [
                maps[shard][start : start + n_bytes]
                for shard, start in zip(shards.tolist(), starts.tolist(), strict=True)
            ]
        )
        return np.frombuffer(images, np.uint8).reshape(-1, *self._layout.row_shape)
