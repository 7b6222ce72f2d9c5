"""Images in the shards of a pack in an object store: read by ranges, each row checked."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diascope.data.shards import Layout, ShardedImages, shard_name
from diascope.errors import SourceError
from diascope.system.remote import Range, Store

KEPT_BYTES = 1 << 30  # of images that were read: a pack of up to this is read once
RUN_BYTES = 1 << 23  # rows side by side are read together, up to this


class RemoteShards(ShardedImages):
    """Shards in an object store.

    A batch is read by as many requests at once as there are runs of rows in it. The first images
    that were read are kept in memory, up to `KEPT_BYTES`; none of them is replaced, because an
    epoch reads every image once before it reads one again.

    Parameters
    ----------
    checksums : callable
        Those of a shard: uint32, of its rows first.

    Raises
    ------
    SourceError
        When rows are read: the store does not answer, or a row is not as it was written.
    """

    def __init__(
        self, layout: Layout, store: Store, checksums: Callable[[int], NDArray[np.uint32]]
    ) -> None:
        super().__init__(layout)
        self._store = store
        self._checksums = lru_cache(None)(checksums)
        self._kept: dict[int, bytes] = {}
        self._most_kept = KEPT_BYTES // layout.row_bytes
        self._lock = threading.Lock()

    def _run(self, start: int, end: int) -> NDArray[np.uint8]:
        return self._read(np.arange(start, end))

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        found: dict[int, bytes] = {}
        wanted = np.unique(rows).tolist()
        missing = []
        for row in wanted:
            content = self._kept.get(row)
            if content is None:
                missing.append(row)
            else:
                found[row] = content
        found.update(self._fetched(missing))
        images = np.empty((len(rows), self._layout.row_bytes), np.uint8)
        for number, row in enumerate(rows.tolist()):
            images[number] = np.frombuffer(found[row], np.uint8)
        return images.reshape(-1, *self._layout.row_shape)

    def _fetched(self, rows: list[int]) -> dict[int, bytes]:
        """Read rows, ascending, from the store; those that are not right are read once more."""
        found = self._asked(rows)
        wrong = [row for row in rows if not self._is_right(row, found[row])]
        found.update(self._asked(wrong))
        broken = sorted(
            {
                row // self._layout.rows_a_shard
                for row in wrong
                if not self._is_right(row, found[row])
            }
        )
        if broken:
            names = ", ".join(map(shard_name, broken))
            raise SourceError(
                f"Images in {names} of the pack are damaged.",
                where=self._store.address,
                fix="Delete these objects, then run the same command again: they alone are packed "
                "again.",
            )
        with self._lock:
            for row in rows[: max(0, self._most_kept - len(self._kept))]:
                self._kept[row] = found[row]
        return found

    def _is_right(self, row: int, content: bytes) -> bool:
        shard, within = divmod(row, self._layout.rows_a_shard)
        return zlib.crc32(content) == self._checksums(shard)[within]

    def _asked(self, rows: list[int]) -> dict[int, bytes]:
        size, n_bytes = self._layout.rows_a_shard, self._layout.row_bytes
        runs: list[list[int]] = []
        for row in rows:
            if (
                runs
                and row == runs[-1][-1] + 1
                and row % size
                and len(runs[-1]) * n_bytes < RUN_BYTES
            ):
                runs[-1].append(row)
            else:
                runs.append([row])
        ranges = []
        for run in runs:
            shard, within = divmod(run[0], size)
            start = len(self._layout.header(shard)) + within * n_bytes
            ranges.append(Range(shard_name(shard), start, start + len(run) * n_bytes))
        found = {}
        for run, content in zip(runs, self._store.read_ranges(ranges), strict=True):
            for number, row in enumerate(run):
                found[row] = content[number * n_bytes : (number + 1) * n_bytes]
        return found
